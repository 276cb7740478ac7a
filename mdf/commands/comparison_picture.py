"""The picture of `mdf demo`: the original and its versions side by side, with their scores."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

_COLUMN = 3.1  # inches
_DETAIL = 0.36  # sides of the detail over those of the picture
_INK, _MARK = "#222222", "#ffd23f"


def draw_comparison(
    title: str, columns: Sequence[tuple[str, "Pixels", Mapping[str, str]]]
) -> bytes:
    """A PNG with a column a version: its name, the picture, a detail, and its scores.

    Args:
        title: above all.
        columns: name, pixels (H, W, 3) of one size, and scores by their labels; the first is
            the original, whose liveliest part is the detail.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    height, width = columns[0][1].shape[:2]
    rows, across = _detail(columns[0][1])
    text = 0.06 * max(len(scores) for _, _, scores in columns)
    heights = [height / width, height / width, text]
    figure = Figure(
        figsize=(_COLUMN * len(columns), _COLUMN * sum(heights) + 0.7),
        dpi=130,
        facecolor="white",
        layout="constrained",
    )
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12, color=_INK, weight="bold")
    grid = figure.add_gridspec(len(heights), len(columns), height_ratios=heights)
    for column, (name, pixels, scores) in enumerate(columns):
        whole, detail, below = (figure.add_subplot(grid[row, column]) for row in range(3))
        _show(whole, pixels)
        whole.set_title(name, fontsize=11, color=_INK)
        whole.add_patch(
            Rectangle(
                (across.start, rows.start),
                across.stop - across.start,
                rows.stop - rows.start,
                fill=False,
                ec=_MARK,
                lw=1.4,
            )
        )
        _show(detail, pixels[rows, across])
        below.axis("off")
        lines = "\n".join(f"{label:<8}{value:>9}" for label, value in scores.items())
        below.text(
            0.5, 1.0, lines, ha="center", va="top", family="monospace", fontsize=10, color=_INK
        )
    file = BytesIO()
    canvas.print_figure(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _show(axes: "Axes", pixels: "Pixels") -> None:
    axes.imshow(pixels, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _detail(pixels: "Pixels") -> tuple[slice, slice]:
    """Rows and columns of the rectangle in which the picture changes most."""
    import numpy as np

    grey = pixels.mean(axis=2)
    height, width = (max(1, round(_DETAIL * side)) for side in grey.shape)
    change = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    sums = np.pad(change, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    within = (sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width]) + sums[
        :-height, :-width
    ]
    top, left = np.unravel_index(within.argmax(), within.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)
