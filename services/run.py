"""What a long computation sees of the world that runs it.

Training code asks `poll()` once an iteration and reports through the other calls;
it knows nothing of databases, leases or terminals. `services.jobs.run.JobRun` is the
implementation inside a worker, `services.local.LocalRun` the one of `mdf train --local`.
"""

from enum import StrEnum
from typing import Protocol


class Signal(StrEnum):
    """What `Run.poll` asks of the computation."""

    CONTINUE = "continue"
    CHECKPOINT = "checkpoint"  # save a checkpoint, then go on
    PAUSE = "pause"  # save a checkpoint, then raise Paused
    FINISH = "finish"  # end early with what is done; the result is valid
    CANCEL = "cancel"  # raise Canceled; nothing need be saved


class Paused(Exception):  # noqa: N818 - a way to stop, not an error
    """The computation stopped on request, after saving a checkpoint."""


class Canceled(Exception):  # noqa: N818 - a way to stop, not an error
    """The computation stopped on request and is not wanted any more."""


# How the line of the log begins that says with what a computation has ended early, on request.
FINISHED_EARLY = "finished early, "


def heed(signal: Signal) -> None:
    """End where that is asked for, with nothing to save."""
    if signal is Signal.CANCEL:
        raise Canceled
    if signal is Signal.PAUSE:
        raise Paused


class Run(Protocol):
    """One attempt at one computation."""

    def load_checkpoint(self) -> bytes | None:
        """The last checkpoint saved by this or an earlier attempt."""

    def save_checkpoint(self, state: bytes) -> None:
        """Keep `state` durably; it replaces the one before, atomically."""

    def poll(self) -> Signal:
        """What to do now. Cheap enough to be asked at every iteration."""

    def alive(self) -> None:
        """It gets on, though it cannot stop here: told between polls that lie minutes apart."""

    def progress(self, *, scale: int, scales: int, step: int, steps: int) -> None:
        """Where the computation is: iteration `step` of `steps` in `scale` of `scales`, from 1."""

    def metrics(self, *, scale: int, step: int, values: dict[str, float]) -> None:
        """Named values at an iteration. Reported again after a resume, they replace the old."""

    def sample(self, *, scale: int, step: int, kind: str, png: bytes) -> None:
        """A picture to look at: `kind` is `seed`, `generated`, `map`, or as `restored-1`."""

    def log(self, message: str) -> None:
        """A line for the job's event log."""
