"""How jobs are told of wherever they are: what kind they are, how they stand, how far they are."""

from collections.abc import Mapping

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from api.schemas import JobOut, ProgressOut
from api.studio import wording
from api.studio.frame import style, text
from services.jobs.lifecycle import State

# Types of jobs, as people call them.
TYPES: Mapping[str, str] = {
    "discriminator_training": "Loss training",
    "restoration_training": "Restorer training",
    "restoration": "Restoration",
    "evaluation": "Comparison",
    "dataset_import": "Data set import",
}
# What one step of a type's progress is, where it is not an iteration.
_STEPS = {"restoration": "image", "evaluation": "image", "dataset_import": "step"}


class StateBadge(TextElement):
    """A job's state, in a word."""

    def __init__(self, state: str) -> None:
        super().__init__(tag="span", text=state)
        self.classes(f"state {state}")
        self._state = state

    def show(self, state: str) -> None:
        """It has changed, perhaps."""
        if state != self._state:
            self.classes(remove=self._state, add=state)
            self.set_text(state)
            self._state = state


class ProgressBar(ui.element):
    """A bar, and in words how far the job is and how long it may take yet."""

    def __init__(self, job: JobOut) -> None:
        super().__init__("div")
        style("jobs")
        self.classes("job-progress")
        with self:
            self._bar = ui.element("progress").props("max=1")
            self._bar.props["aria-label"] = f"Progress of {job.name or job.id}"
            self._words = text("span", "")
        self.show(job)

    def show(self, job: JobOut) -> None:
        """It has got on."""
        fraction = fraction_of(job)
        words = in_words(job)
        if self._bar.props.get("value") != fraction:
            self._bar.props["value"] = fraction
        if self._words.text != words:
            self._words.set_text(words)


def name_of(job: JobOut) -> str:
    """What to call it where nobody has given it a name."""
    return job.name or f"{TYPES[job.type]} {job.id[-8:]}"


def fraction_of(job: JobOut) -> float:
    """The share of the work that is done; of a loss that is finished early, all."""
    if job.state == State.SUCCEEDED:
        return 1.0
    return 0.0 if job.progress is None else job.progress.fraction


def in_words(job: JobOut) -> str:
    """`37 % · about 2 min left`."""
    match job.state:
        case State.SUCCEEDED:
            return f"done in {wording.span(job.run_seconds)}"
        case State.QUEUED:
            return "waits" if job.queue_position is None else f"number {job.queue_position} in line"
        case State.CANCELING | State.FAILED | State.CANCELED | State.EXPIRED:
            return f"stopped at {fraction_of(job):.0%}".replace("%", "\u202f%")
        case State.RUNNING if job.progress is None:
            return "starting"
    share = f"{fraction_of(job):.0%}".replace("%", "\u202f%")
    if job.eta_seconds is None:
        return share
    return f"{share} · about {wording.about(job.eta_seconds)} left"


def made_by(job: JobOut) -> tuple[str, str] | None:
    """What to call a link to what it has made, and where that leads."""
    if job.loss_id is not None:
        return "Open the loss", f"/losses/{job.loss_id}"
    if job.model_id is not None:
        return "Open the restorer", f"/restorers/{job.model_id}"
    if job.evaluation_id is not None:
        return "Open the comparison", f"/compare/{job.evaluation_id}"
    if job.dataset_id is not None:
        return "Open the data set", f"/datasets/{job.dataset_id}"
    return None


def step_in_words(job_type: str, progress: ProgressOut | None) -> str:
    """`scale 3 of 8, iteration 12 of 60`."""
    if progress is None:
        return "nothing yet"
    step = f"{_STEPS.get(job_type, 'iteration')} {progress.step} of {progress.steps}"
    if progress.scales == 1:
        return step
    return f"scale {progress.scale} of {progress.scales}, {step}"
