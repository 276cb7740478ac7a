"""The contact sheet of a training: one column a scale, coarsest first; pictures, then curves."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from services.phase1.history import CURVES, ScaleHistory

_LOSSES = {  # curve: colour, name in the legend
    "discriminator_real": ("#1f6fb2", "discriminator on seed"),
    "discriminator_fake": ("#d1495b", "discriminator on generated"),
    "gradient_penalty": ("#8c8c8c", "gradient penalty"),
    "adversarial": ("#3d8b5f", "generator, adversarial"),
}
_MSE = ("#7b4ea3", "reconstruction, MSE")
_INK = "#222222"
_COLUMN = 2.1  # inches
_SMALL, _NORMAL, _LARGE = 7.5, 9.0, 13.0  # points


def draw_contact_sheet(history: Sequence[ScaleHistory], *, title: str) -> bytes:
    """A PNG of every scale's seed, generated image, discriminator map, losses and MSE.

    The curves of a row share their axis, so that scales can be compared. The same history gives
    the same bytes.
    """
    columns = len(history)
    aspect = history[-1].seed.shape[0] / history[-1].seed.shape[1]
    heights = [aspect, aspect, aspect, 0.85, 0.6]
    figure = Figure(
        figsize=(_COLUMN * max(columns, 3) + 0.8, _COLUMN * sum(heights) + 2.2),
        dpi=120,
        facecolor="white",
        layout="constrained",
    )
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=_LARGE, color=_INK, weight="bold")
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    first: list[Axes] = []
    for column, scale in enumerate(history):
        axes = [
            figure.add_subplot(grid[row, column], sharey=first[row] if first and row > 2 else None)
            for row in range(len(heights))
        ]
        _draw_pictures(axes[:3], scale, name=f"scale {column + 1}")
        _draw_losses(axes[3], scale)
        _draw_mse(axes[4], scale)
        if not first:
            first = axes
            _name_rows(axes)
        else:
            for curves in axes[3:]:
                curves.tick_params(labelleft=False, which="both")
    lines = [line for axes in first[3:] for line in axes.get_lines() if line.get_gid() == "curve"]
    figure.legend(
        handles=lines,
        loc="outside lower center",
        ncols=len(lines) if columns > 4 else 3,  # a sheet of few columns is narrow
        frameon=False,
        fontsize=_NORMAL,
    )
    buffer = io.BytesIO()
    canvas.print_figure(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_pictures(axes: Sequence[Axes], scale: ScaleHistory, *, name: str) -> None:
    low, high = np.percentile(scale.activations, (1, 99))
    axes[0].imshow(scale.seed, interpolation="nearest")
    axes[1].imshow(scale.generated, interpolation="nearest")
    axes[2].imshow(scale.activations, cmap="magma", vmin=low, vmax=high, interpolation="nearest")
    height, width = scale.seed.shape[:2]
    axes[0].set_title(f"{name}\n{width} × {height} px", fontsize=_NORMAL, color=_INK)
    axes[2].set_xlabel(f"dark {low:.2f} … bright {high:.2f}", fontsize=_SMALL, color=_INK)
    for each in axes:
        each.set(xticks=[], yticks=[])
        each.spines[:].set_visible(False)


def _draw_losses(axes: Axes, scale: ScaleHistory) -> None:
    for name, (colour, label) in _LOSSES.items():
        axes.plot(
            scale.curves[:, 0], _curve(scale, name), color=colour, lw=1.2, label=label, gid="curve"
        )
    axes.axhline(0, color=_INK, lw=0.5, alpha=0.4)
    axes.tick_params(labelbottom=False)
    _style(axes)


def _draw_mse(axes: Axes, scale: ScaleHistory) -> None:
    colour, label = _MSE
    mse = _curve(scale, "reconstruction")
    axes.plot(scale.curves[:, 0], mse, color=colour, lw=1.2, label=label, gid="curve")
    axes.set_yscale("log")
    axes.set_xlabel("iteration", fontsize=_SMALL, color=_INK)
    _style(axes)


def _curve(scale: ScaleHistory, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return scale.curves[:, 1 + CURVES.index(name)]


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=_SMALL, colors=_INK, which="both")
    axes.grid(visible=True, alpha=0.2, lw=0.5)


def _name_rows(axes: Sequence[Axes]) -> None:
    names = ("seed", "generated", "discriminator's map\nof the generated", "losses", "MSE")
    for each, name in zip(axes, names, strict=True):
        each.set_ylabel(name, fontsize=_NORMAL, color=_INK)
