"""The contact sheet of a restorer's training: pictures before and after, then the curves."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from services.phase2.history import TrainingHistory

_TRAINING, _VALIDATION, _DEGRADED = "#1f6fb2", "#d1495b", "#8c8c8c"
_INK = "#222222"
_COLUMN = 3.2  # inches
_SMALL, _NORMAL, _LARGE = 7.5, 9.0, 13.0  # points
_LABELS = {"psnr": "PSNR, dB", "ssim": "SSIM"}


def draw_contact_sheet(history: TrainingHistory, *, title: str) -> bytes:
    """A PNG: a row for each validation image, degraded, restored and target; then the curves.

    The same history gives the same bytes.
    """
    rows = len(history.samples)
    heights = [_aspect(sample.target) for sample in history.samples] + [0.75]
    figure = Figure(
        figsize=(3 * _COLUMN, _COLUMN * sum(heights) + 1.6),
        dpi=120,
        facecolor="white",
        layout="constrained",
    )
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=_LARGE, color=_INK, weight="bold")
    grid = figure.add_gridspec(rows + 1, 3, height_ratios=heights)
    for row, sample in enumerate(history.samples):
        images = {"degraded": sample.degraded, "restored": sample.restored, "target": sample.target}
        for column, (name, pixels) in enumerate(images.items()):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(pixels, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if row == 0:
                axes.set_title(name, fontsize=_NORMAL, color=_INK)
    _draw_loss(figure.add_subplot(grid[rows, 0]), history)
    measured = [name for name in history.validations[-1] if name not in ("iteration", "loss")]
    for column, name in enumerate(measured[:2], 1):
        _draw_metric(figure.add_subplot(grid[rows, column]), history, name)
    buffer = io.BytesIO()
    canvas.print_figure(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_loss(axes: Axes, history: TrainingHistory) -> None:
    _plot(axes, history.points, "loss", color=_TRAINING, label="training")
    _plot(axes, history.validations, "loss", color=_VALIDATION, label="validation", marker="o")
    if all(point["loss"] > 0 for point in history.points):
        axes.set_yscale("log")
    _style(axes, "loss", history)


def _draw_metric(axes: Axes, history: TrainingHistory, name: str) -> None:
    _plot(axes, history.validations, name, color=_VALIDATION, label="validation", marker="o")
    if name in history.degraded:
        axes.axhline(history.degraded[name], color=_DEGRADED, lw=1, ls="--", label="degraded")
    _style(axes, _LABELS.get(name, name), history)


def _plot(
    axes: Axes,
    points: Sequence[dict[str, float]],
    name: str,
    *,
    color: str,
    label: str,
    marker: str = "",
) -> None:
    known = [point for point in points if name in point]
    steps = [point["iteration"] for point in known]
    values = [point[name] for point in known]
    axes.plot(steps, values, color=color, label=label, marker=marker, markersize=3, lw=1.2)


def _style(axes: Axes, title: str, history: TrainingHistory) -> None:
    axes.axvline(history.best, color=_INK, lw=0.6, ls=":", label="kept")
    axes.set_title(title, fontsize=_NORMAL, color=_INK)
    axes.set_xlabel("iteration", fontsize=_SMALL, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=_SMALL, colors=_INK, which="both")
    axes.grid(visible=True, alpha=0.2, lw=0.5)
    axes.legend(frameon=False, fontsize=_SMALL)


def _aspect(pixels: NDArray[np.uint8]) -> float:
    height, width = pixels.shape[:2]
    return float(height / width)
