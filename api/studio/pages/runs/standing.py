"""How a run stands: its progress, the facts, and why it failed."""

from collections.abc import Mapping
from datetime import datetime

from nicegui import ui

from api.schemas import JobErrorOut, JobOut
from api.studio import wording
from api.studio.elements.jobs import ProgressBar, step_in_words
from api.studio.elements.times import moment
from api.studio.frame import link, panel, text
from api.studio.pages.runs.brief import train_again
from api.studio.pages.runs.news import News
from services.jobs.failures import Code
from services.jobs.lifecycle import State

Fact = str | datetime


class Standing:
    """The panel with the progress bar and what else is to be known."""

    def __init__(self, news: News) -> None:
        with panel("Progress"):
            self._bar = ProgressBar(news.job)
            with ui.element("dl").classes("facts wide"):
                self._facts = {name: _Fact(name) for name in _facts(news)}
        self.show(news)

    def show(self, news: News) -> None:
        """How it stands now."""
        self._bar.show(news.job)
        for name, value in _facts(news).items():
            self._facts[name].show(value)


class Failure:
    """Why a run failed or never began, in words, and what to do; not there for others."""

    def __init__(self) -> None:
        self._told: JobErrorOut | str | None = None
        self._place = ui.element("div").props("role=alert")
        self._place.set_visibility(False)

    def show(self, news: News) -> None:
        """It has failed, perhaps, or goes on again."""
        job = news.job
        told = job.error if job.state == State.FAILED else None
        if job.state == State.EXPIRED:
            told = JobErrorOut(
                code="deadline_exceeded",
                message="The deadline passed before a worker was free to begin.",
                retryable=False,
            )
        if told == self._told:
            return
        self._told = told
        self._place.set_visibility(told is not None)
        self._place.clear()
        if told is not None:
            with self._place:
                _draw_failure(job, told)


class _Fact:
    """A name and its value; it is not there while there is none."""

    def __init__(self, name: str) -> None:
        self._value: Fact | None = None
        with ui.element("div").classes("fact") as self._fact:
            text("dt", name)
            self._place = ui.element("dd").classes("number")
        self._fact.set_visibility(False)

    def show(self, value: Fact | None) -> None:
        """It has changed, perhaps."""
        if value == self._value:
            return
        self._value = value
        self._fact.set_visibility(value is not None)
        self._place.clear()
        if value is not None:
            with self._place:
                moment(value) if isinstance(value, datetime) else text("span", value)


def _facts(news: News) -> Mapping[str, Fact | None]:
    job = news.job
    line = None if job.queue_position is None else f"number {job.queue_position}"
    size = None if news.checkpoint_size is None else wording.size(news.checkpoint_size)
    attempts = f"{job.attempt}; {job.max_attempts} in a row may be lost"
    return {
        "Stands at": None if job.progress is None else step_in_words(job.type, job.progress),
        "Finished early": news.early_end,
        "Place in line": line,
        "Runs on": news.worker,
        "Ran for": wording.span(job.run_seconds) if job.attempt else None,
        "Attempt": attempts if job.attempt > 1 else None,
        "Last checkpoint": job.checkpoint_at,
        "Checkpoint size": size,
        "Submitted": job.created,
        "Started": job.started,
        "Ended": job.finished,
        "Deadline": job.deadline,
        "Priority": str(job.priority) if job.priority else None,
    }


def _draw_failure(job: JobOut, error: JobErrorOut) -> None:
    with panel("It failed", classes="failure"):
        text("p", error.message)
        text("p", _ADVICE[error.code])
        with ui.element("p").classes("quiet"):
            text("span", "Code ")
            text("code", error.code)
            can = (
                "a retry may well succeed" if error.retryable else "a retry would end the same way"
            )
            text("span", f"; {can}.")
        if error.code == "disk_full":
            link("See what fills the disk", "/admin")
        if job.type == "discriminator_training" and not error.retryable:
            link("Train another with changes", train_again(job))


# What to do, by the code of the error; the message has the particulars.
_ADVICE: Mapping[Code, str] = {
    "out_of_memory": "Ask for less, or let a worker with more memory do it; then submit it again. "
    "If other work filled the memory at that time, retry.",
    "diverged": "Submit it again with a smaller learning rate.",
    "worker_lost": "Retry: it goes on from the last checkpoint. If it happens again, the worker's "
    "log says why.",
    "deadline_exceeded": "Submit it again with a later deadline, or with none.",
    "disk_full": "Free some space, then retry: it goes on from the last checkpoint.",
    "bad_input": "Change what the message names, and submit it again.",
    "internal": "The worker's log has the details under this run's id.",
}
