"""A training's progress: a live bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mdf.client.records import Progress
from mdf.commands.terminal import duration, err

_SECONDS_BETWEEN_LINES = 10.0
# What is shown of an iteration's metrics, and as what.
_METRICS = {
    "discriminator_real": "D(real)",
    "discriminator_fake": "D(fake)",
    "gradient_penalty": "GP",
    "adversarial": "G(adv)",
    "reconstruction": "G(rec)",
    "loss": "loss",
    "validation_loss": "validation",
    "validation_psnr": "PSNR",
    "validation_ssim": "SSIM",
}


class Display(Protocol):
    """Where a training's progress is shown."""

    def update(self, progress: Progress) -> None:
        """The training has come so far."""

    def say(self, message: str) -> None:
        """Something happened."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def open_display(unit: str = "iteration") -> Display:
    """The display that suits standard error; `unit` is what a job's steps are."""
    return LiveDisplay(unit) if err.is_terminal else LineDisplay(unit)


class LiveDisplay:
    """A bar with scale, iteration and time left, and the losses below it."""

    def __init__(self, unit: str = "iteration") -> None:
        self._unit = unit
        self._status = "waiting for a worker"
        self._progress: Progress | None = None
        self._live = Live(console=err, get_renderable=self._render, refresh_per_second=4)

    def update(self, progress: Progress) -> None:
        """Show how far the training has come."""
        self._progress = progress

    def say(self, message: str) -> None:
        """Show `message` in the place of the time left until there is progress."""
        self._status = message
        self._progress = None

    def _render(self) -> RenderableType:
        progress = self._progress
        if progress is None:
            return Text(f"  {self._status} …", style="dim")
        line = Table.grid(padding=(0, 2), expand=False)
        scale = f"scale [bold]{progress.scale}[/]/{progress.scales}"
        step = f"[bold]{progress.step:>{len(str(progress.steps))}}[/]/{progress.steps}"
        line.add_row(
            f"  {scale}  {self._unit} {step}" if progress.scales > 1 else f"  {self._unit} {step}",
            ProgressBar(total=1.0, completed=progress.fraction, width=28),
            f"[bold]{progress.fraction:4.0%}[/]",
            f"[dim]{_time_left(progress)}[/]",
        )
        return Group(line, Text(f"  {describe_metrics(progress.metrics)}", style="dim"))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()


class LineDisplay:
    """A line when a scale begins, and every ten seconds."""

    def __init__(self, unit: str = "iteration") -> None:
        self._unit = unit
        self._scale = 0
        self._last = 0.0

    def update(self, progress: Progress) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        finished = progress.fraction >= 1
        if (
            progress.scale == self._scale
            and now - self._last < _SECONDS_BETWEEN_LINES
            and not finished
        ):
            return
        self._scale, self._last = progress.scale, now
        parts = (
            f"scale {progress.scale}/{progress.scales}" if progress.scales > 1 else "",
            f"{self._unit} {progress.step}/{progress.steps}",
            f"{progress.fraction:.0%}",
            describe_metrics(progress.metrics),
            _time_left(progress),
        )
        self.say("  ".join(part for part in parts if part))

    def say(self, message: str) -> None:
        """Print `message`."""
        err.print(message, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


def describe_metrics(metrics: Mapping[str, float] | None) -> str:
    """The values of an iteration: `D(real) -1.23  D(fake) 0.45  …`."""
    if metrics is None:
        return ""
    shown = [(label, metrics[name]) for name, label in _METRICS.items() if name in metrics]
    return "  ".join(f"{label} {value:.3g}" for label, value in shown)


def _time_left(progress: Progress) -> str:
    if progress.fraction >= 1:
        return "saving"
    return "" if progress.eta_seconds is None else f"{duration(progress.eta_seconds)} left"
