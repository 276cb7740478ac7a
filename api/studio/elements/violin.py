"""Violin plots: how the scores of each of several candidates are distributed over images."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nicegui import ui
from numpy.typing import NDArray

from api.studio import wording
from api.studio.frame import style, text

Interval = tuple[float, float]

_POINTS = 80  # of an outline
_TICKS = 6


@dataclass(frozen=True)
class Group:
    """One violin: its name, what it is called when it is picked, and what it shows."""

    id: str
    mark: str
    name: str
    values: Sequence[float]
    mean: float
    mean_interval: Interval | None
    worst: float
    worst_interval: Interval | None


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with round numbers to stand on it; `reverse` puts low to the right."""

    low: float
    high: float
    ticks: Sequence[float]
    reverse: bool

    @classmethod
    def over(cls, values: Sequence[float], *, reverse: bool, room: float = 0.04) -> "Axis":
        """One that has all values, with some room beside them."""
        low, high = min(values), max(values)
        margin = room * (high - low) or 0.05 * abs(high) or 1.0
        low, high = low - margin, high + margin
        return cls(low, high, round_numbers(low, high), reverse)

    def place(self, value: float) -> float:
        """Where the value stands, as a share of the axis from the left, in percent."""
        share = 100 * (value - self.low) / (self.high - self.low)
        return 100 - share if self.reverse else share


class Violins(ui.element):
    """A violin for each group, one below the other; better is always further to the right.

    Args:
        groups: what is shown.
        title: the metric, with its unit.
        higher_is_better: else the axis runs from right to left.
        on_pick: is called with the id of a group whose name or violin is clicked.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        *,
        title: str,
        higher_is_better: bool,
        on_pick: Callable[[str], Any],
    ) -> None:
        super().__init__("figure")
        style("violin")
        self.classes("violins")
        axis = Axis.over(
            [value for group in groups for value in _extent(group)], reverse=not higher_is_better
        )
        with self:
            text("figcaption", title, classes="violins-title")
            for group in groups:
                with ui.element("div").classes("violin"):
                    self._name(group, on_pick)
                    self._draw(group, axis, title, on_pick)
            draw_ticks(axis)
            text("p", "better →", classes="violins-better")

    def _name(self, group: Group, on_pick: Callable[[str], Any]) -> None:
        name = text("button", "", classes="violin-name").props("type=button")
        name.props["title"] = f"{group.name}: show its images"
        with name:
            text("span", group.mark, classes="mark")
            text("span", group.name)
        name.on("click", lambda _, picked=group.id: on_pick(picked), args=[])

    def _draw(self, group: Group, axis: Axis, title: str, on_pick: Callable[[str], Any]) -> None:
        track = ui.element("svg").classes("violin-track")
        track.props["role"] = "img"
        track.props["aria-label"] = in_words(group, title)
        track.on("click", lambda _, picked=group.id: on_pick(picked), args=[])
        with track:
            with ui.element("svg") as stretched:
                stretched.props.update(
                    viewBox="0 0 100 100", preserveAspectRatio="none", width="100%", height="100%"
                )
                shape = ui.element("path").classes("violin-shape")
                shape.props["d"] = outline(np.array(group.values), axis)
            _interval(group.worst_interval, axis, "violin-worst")
            _interval(group.mean_interval, axis, "violin-mean")
            _point(group.worst, axis, "violin-worst", radius=4)
            _point(group.mean, axis, "violin-mean", radius=5)


def in_words(group: Group, title: str) -> str:
    """What is to be seen of a group, for those who do not see it."""
    number = wording.number
    said = f"{group.name}, {title}: mean {number(group.mean)}"
    if group.mean_interval is not None:
        low, high = map(number, group.mean_interval)
        said += f" (95 % interval {low} to {high})"
    least, most = number(min(group.values)), number(max(group.values))
    return f"{said}; 5 % of the images worse than {number(group.worst)}; from {least} to {most}"


def density(values: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """The kernel density of the values: Gaussian, of Silverman's width; 1 where it is highest."""
    n, spread = len(values), float(values.std(ddof=1)) if len(values) > 1 else 0.0
    quarters = np.subtract(*np.percentile(values, (75, 25))) / 1.34
    width = 0.9 * min(spread, quarters or spread) * n**-0.2
    # All in one place: a spike that can be seen.
    width = max(width, (places[-1] - places[0]) / 200)
    kernels = np.exp(-0.5 * ((places[:, None] - values[None, :]) / width) ** 2)
    heights = kernels.sum(axis=1)
    highest: NDArray[np.float64] = heights / heights.max()
    return highest


def outline(values: NDArray[np.float64], axis: Axis) -> str:
    """The violin as an SVG path in a square of 100; it ends where the values do."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - (axis.high - axis.low) / 200, high + (axis.high - axis.low) / 200
    places = np.linspace(low, high, _POINTS)
    heights = density(values, places)
    upper = [
        (axis.place(place), 50 - 46 * height) for place, height in zip(places, heights, strict=True)
    ]
    lower = [(x, 100 - y) for x, y in reversed(upper)]
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in [*upper, *lower]) + "Z"


def round_numbers(low: float, high: float) -> list[float]:
    """About five numbers with few digits between the two."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 2.5, 5, 10) if each * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [number * step for number in range(first, last + 1)]


def tick_words(axis: Axis) -> list[str]:
    """The numbers of an axis, with as many digits as tell them apart."""
    if len(axis.ticks) < 2:
        return [wording.number(tick) for tick in axis.ticks]
    digits = max(0, -math.floor(math.log10(abs(axis.ticks[1] - axis.ticks[0])) + 1e-9))
    finer = any(abs(tick - round(tick, digits)) > 10 ** -(digits + 3) for tick in axis.ticks)
    return [f"{tick + 0.0:.{digits + finer}f}" for tick in axis.ticks]


def draw_ticks(axis: Axis) -> None:
    """The numbers below the violins."""
    with ui.element("div").classes("violin-ticks").props("aria-hidden=true"):
        for tick, said in zip(axis.ticks, tick_words(axis), strict=True):
            mark = text("span", said, classes="number")
            mark.style(f"left: {axis.place(tick):.2f}%")


def _extent(group: Group) -> list[float]:
    intervals = (group.mean_interval or (), group.worst_interval or ())
    return [*group.values, *(value for interval in intervals for value in interval)]


def _interval(interval: Interval | None, axis: Axis, kind: str) -> None:
    if interval is None:
        return
    line = ui.element("line").classes(kind)
    start, end = sorted(map(axis.place, interval))
    line.props.update(x1=f"{start:.2f}%", x2=f"{end:.2f}%", y1="50%", y2="50%")


def _point(value: float, axis: Axis, kind: str, *, radius: int) -> None:
    if kind == "violin-mean":
        point = ui.element("circle").classes(kind)
        point.props.update(cx=f"{axis.place(value):.2f}%", cy="50%", r=str(radius))
        return
    # Another shape than the mean's, since colours alone tell nobody apart.
    point = ui.element("rect").classes(kind)
    point.props.update(
        x=f"{axis.place(value):.2f}%",
        y="50%",
        width=str(2 * radius),
        height=str(2 * radius),
        transform=f"translate(-{radius} -{radius})",
    )
