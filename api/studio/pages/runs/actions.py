"""What can be done with a run, by its state."""

from collections.abc import Awaitable, Callable, Mapping

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement
from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.schemas import JobChange, JobOut
from api.studio.elements.dialogs import dialog
from api.studio.elements.forms import field
from api.studio.elements.jobs import name_of
from api.studio.frame import button, telling, text
from api.studio.pages.runs.news import News
from api.studio.visitor import Visitor
from services.access import Caller
from services.jobs import requests
from services.jobs.lifecycle import TERMINAL, State
from services.jobs.specs import FINISHABLE

_PRIORITIES = (-100, 100)

# The states in which each action is there.
_STATES: Mapping[str, frozenset[State]] = {
    "pause": frozenset({State.QUEUED, State.RUNNING}),
    "resume": frozenset({State.PAUSED, State.PAUSING}),
    "finish": frozenset({State.RUNNING, State.PAUSING, State.PAUSED}),
    "cancel": frozenset({State.QUEUED, State.RUNNING, State.PAUSING, State.PAUSED}),
    "retry": frozenset({State.FAILED, State.CANCELED}),
    "prioritise": frozenset({State.QUEUED, State.PAUSED}),
    "delete": TERMINAL,
}
_FINISH = {
    "discriminator_training": "The scales that are done make a loss, at least one; the one that "
    "is being trained is left out.",
    "restoration_training": "The best weights so far make the model.",
}


class Actions:
    """The buttons; which of them are there follows the state.

    Args:
        visitor: whose they are.
        job: what they act on.
        problem: where what is refused is told.
        refresh: shows what has come of it.
    """

    def __init__(
        self,
        visitor: Visitor,
        job: JobOut,
        *,
        problem: TextElement,
        refresh: Callable[[], Awaitable[None]],
    ) -> None:
        self._visitor = visitor
        self._job_id = job.id
        self._problem = problem
        self._refresh = refresh
        self._places: dict[str, ui.element] = {}
        with self._place("pause"):
            button("Pause", lambda: self._steer(requests.pause))
        with self._place("resume"):
            button("Resume", lambda: self._steer(requests.resume), classes="button")
        with self._place("retry"):
            button("Retry", lambda: self._steer(requests.retry), classes="button")
        if job.type in FINISHABLE:
            with self._place("finish"):
                self._ask_to_finish(job)
        with self._place("cancel"):
            self._ask_to_cancel()
        self._ask_name(job)
        with self._place("prioritise"):
            self._ask_priority(job)
        with self._place("delete"):
            self._ask_to_delete(job)

    def show(self, news: News) -> None:
        """The state has changed, perhaps."""
        error = news.job.error
        for name, place in self._places.items():
            shown = news.job.state in _STATES[name]
            if name == "retry" and error is not None:
                shown &= error.retryable  # another attempt would end the same way
            if place.visible != shown:
                place.set_visibility(shown)

    def _place(self, name: str) -> ui.element:
        self._places[name] = place = ui.element("div")
        place.set_visibility(False)
        return place

    def _ask_to_finish(self, job: JobOut) -> None:
        async def finish(_: Mapping[str, str]) -> None:
            await self._steer(requests.finish)

        with dialog(
            "Finish here …",
            title="Finish with what is done?",
            act=finish,
            does="Finish here",
            keep="Let it go on",
        ):
            text("p", f"{_FINISH[job.type]} It cannot go on afterwards.")

    def _ask_to_cancel(self) -> None:
        async def cancel(_: Mapping[str, str]) -> None:
            await self._steer(requests.cancel)

        with dialog(
            "Cancel …",
            title="Cancel this run?",
            act=cancel,
            does="Cancel the run",
            keep="Let it go on",
            classes="plain danger",
        ):
            text("p", "It ends without a result. A retry goes on from its last checkpoint.")

    def _ask_to_delete(self, job: JobOut) -> None:
        async def delete(_: Mapping[str, str]) -> None:
            with telling(self._problem):
                await self._visitor.do(
                    lambda installation, caller: requests.delete(
                        installation.database, installation.blobs, self._job_id, caller
                    ),
                    needs="write",
                )
                ui.navigate.to("/runs")

        with dialog(
            "Delete …",
            title="Delete this run?",
            act=delete,
            does="Delete the run",
            classes="plain danger",
        ):
            text("p", _DELETED)
            text("p", name_of(job), classes="quiet")

    def _ask_name(self, job: JobOut) -> None:
        async def rename(fields: Mapping[str, str]) -> None:
            await self._change(name=fields["name"])

        with dialog("Rename …", title="Rename this run", act=rename, does="Rename"):
            field("name", "Name", value=job.name, maxlength=200)

    def _ask_priority(self, job: JobOut) -> None:
        async def prioritise(fields: Mapping[str, str]) -> None:
            await self._change(priority=float(fields["priority"]))

        with dialog("Priority …", title="Its place in line", act=prioritise, does="Move it"):
            least, most = _PRIORITIES
            field(
                "priority",
                f"Priority, {least} to {most}",
                help="Among your own runs, a higher priority goes first.",
                value=str(job.priority),
                type="number",
                min=least,
                max=most,
                required=True,
            )

    async def _steer(self, request: requests.Request) -> None:
        """Ask it of the job, and tell the workers if it waits for one now."""
        blobs = self._visitor.runtime.installation.blobs

        def act(session: Session, caller: Caller) -> tuple[str, str]:
            job = requests.ask(session, blobs, request, self._job_id, caller)
            return job.state, job.type

        with telling(self._problem):
            state, job_type = await self._visitor.write(act)
            if state == State.QUEUED:
                await self._visitor.runtime.announcements.announce(self._job_id, job_type)
        await self._refresh()

    async def _change(self, **wanted: str | float) -> None:
        try:
            change = JobChange.model_validate(wanted)
        except ValidationError as error:
            fault = error.errors()[0]
            self._problem.set_text(f"{str(fault['loc'][0]).capitalize()}: {fault['msg']}")
            return
        with telling(self._problem):
            await self._visitor.write(
                lambda session, caller: (
                    requests.change(
                        session, self._job_id, caller, name=change.name, priority=change.priority
                    ).id
                )
            )
        await self._refresh()


_DELETED = (
    "Its log, curves, pictures and files go, and the comparison if it is one. The loss, the model "
    "or the data set that it made stays."
)
