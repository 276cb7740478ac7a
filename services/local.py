"""A run without a server: checkpoint and pictures in a folder (`mdf train --local`)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.files import replace_file
from services.run import Signal


@dataclass(frozen=True)
class LocalProgress:
    """Where a run is, from 1, and its latest metrics."""

    scale: int
    scales: int
    step: int
    steps: int
    metrics: dict[str, float]


class LocalRun:
    """Implements `services.run.Run` for one process at a terminal.

    Args:
        folder: made if absent; a run of the same training in it goes on where it stopped.
        on_progress: called after every iteration.
        on_log: called with every line of the log.
        checkpoint_every: iterations between checkpoints.
    """

    def __init__(
        self,
        folder: Path,
        *,
        on_progress: Callable[[LocalProgress], None] | None = None,
        on_log: Callable[[str], None] | None = None,
        checkpoint_every: int = 50,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._checkpoint = folder / "checkpoint.pt"
        self._on_progress = on_progress
        self._on_log = on_log
        self._checkpoint_every = checkpoint_every
        self._polls = 0
        self._metrics: dict[str, float] = {}
        self._signal = Signal.CONTINUE

    def ask(self, signal: Signal) -> None:
        """Have the computation pause, finish or cancel; safe to call from a signal handler."""
        self._signal = signal

    def load_checkpoint(self) -> bytes | None:
        """The last checkpoint in the folder."""
        return self._checkpoint.read_bytes() if self._checkpoint.exists() else None

    def save_checkpoint(self, state: bytes) -> None:
        """Write beside, make durable, then rename: a kill leaves the one before."""
        self._write(self._checkpoint, state)

    def poll(self) -> Signal:
        """What was asked for, else a checkpoint every so many iterations."""
        self._polls += 1
        if self._signal is Signal.CONTINUE and self._polls % self._checkpoint_every == 0:
            return Signal.CHECKPOINT
        return self._signal

    def alive(self) -> None:
        """Nobody watches."""

    def progress(self, *, scale: int, scales: int, step: int, steps: int) -> None:
        """Pass it on."""
        if self._on_progress is not None:
            self._on_progress(LocalProgress(scale, scales, step, steps, self._metrics))

    def metrics(self, *, scale: int, step: int, values: dict[str, float]) -> None:  # noqa: ARG002
        """Keep the latest; the contact sheet has the curves."""
        self._metrics = values

    def sample(self, *, scale: int, step: int, kind: str, png: bytes) -> None:
        """Write it into the folder `samples`."""
        samples = self._folder / "samples"
        samples.mkdir(exist_ok=True)
        self._write(samples / f"{scale:02}-{step:06}-{kind}.png", png)

    def log(self, message: str) -> None:
        """Pass it on."""
        if self._on_log is not None:
            self._on_log(message)

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        replace_file(path, content, draft=f".{path.name}.new")
