"""Points in a plane of two metrics, each of them a button: perception against distortion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from api.studio import wording
from api.studio.elements.violin import Axis, Interval, tick_words
from api.studio.frame import style, text

# The size of the plane, px, that marks are kept apart in; it may be drawn larger.
_WIDTH, _HEIGHT = 300, 340
_APART = 27  # px between the centres of two marks
_AWAY = (0, 26, 40, 54, 68, 82)  # px of a mark from its point
_WAYS = ((1, -1), (-1, -1), (1, 1), (-1, 1), (0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0))


@dataclass(frozen=True)
class Point:
    """What stands in the plane; its intervals are drawn as a cross."""

    id: str
    mark: str
    name: str
    x: float
    y: float
    x_interval: Interval | None
    y_interval: Interval | None


@dataclass(frozen=True)
class Measure:
    """What an axis measures."""

    label: str
    higher_is_better: bool


class Plane(ui.element):
    """The points; better is further to the left and further down, as in the literature.

    Args:
        points: what is shown.
        x: what the horizontal axis measures.
        y: what the vertical axis measures.
        on_pick: is called with the id of a point that is clicked.
    """

    def __init__(
        self,
        points: Sequence[Point],
        *,
        x: Measure,
        y: Measure,
        on_pick: Callable[[str], Any],
    ) -> None:
        super().__init__("figure")
        style("plane")
        self.classes("plane")
        across = _axis([(each.x, each.x_interval) for each in points], x)
        up = _axis([(each.y, each.y_interval) for each in points], y)
        places = [(across.place(each.x), 100 - up.place(each.y)) for each in points]
        with self:
            text("p", f"{y.label}, better ↓", classes="plane-y-name")
            with ui.element("div").classes("plane-field"):
                _draw_grid(across, up)
                for point, place, moved in zip(points, places, apart(places), strict=True):
                    _draw_cross(point, place, across, up)
                    button = _draw_point(point, place, moved, (x, y))
                    button.on("click", lambda _, picked=point.id: on_pick(picked), args=[])
            text("p", f"← better, {x.label}", classes="plane-x-name")


def apart(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """How far, px, to move the mark of each point so that none covers another."""
    taken: list[tuple[float, float]] = []
    moves = []
    points = [(x / 100 * _WIDTH, y / 100 * _HEIGHT) for x, y in places]
    for x, y in points:
        candidates = [
            (dx * away * 0.7, dy * away * 0.7)
            for away in _AWAY
            for dx, dy in (_WAYS if away else ((0.0, 0.0),))
        ]
        move = next(
            (
                (dx, dy)
                for dx, dy in candidates
                if all((x + dx - a) ** 2 + (y + dy - b) ** 2 >= _APART**2 for a, b in taken)
                and 0 <= y + dy <= _HEIGHT
            ),
            candidates[-1],
        )
        taken.append((x + move[0], y + move[1]))
        moves.append(move)
    return moves


def _axis(values: Sequence[tuple[float, Interval | None]], measure: Measure) -> Axis:
    """Over values and intervals; better is at the low end."""
    all_of_them = [each for value, interval in values for each in (value, *(interval or ()))]
    return Axis.over(all_of_them, reverse=measure.higher_is_better, room=0.08)


def _draw_grid(across: Axis, up: Axis) -> None:
    with ui.element("div").props("aria-hidden=true").classes("plane-grid"):
        for tick, said in zip(across.ticks, tick_words(across), strict=True):
            mark = text("span", said, classes="plane-x number")
            mark.style(f"left: {across.place(tick):.2f}%")
        for tick, said in zip(up.ticks, tick_words(up), strict=True):
            mark = text("span", said, classes="plane-y number")
            mark.style(f"bottom: {up.place(tick):.2f}%")


def _draw_cross(point: Point, place: tuple[float, float], across: Axis, up: Axis) -> None:
    left, top = place
    if point.x_interval is not None:
        start, end = sorted(map(across.place, point.x_interval))
        bar = ui.element("i").classes("plane-wide").props("aria-hidden=true")
        bar.style(f"left: {start:.2f}%; width: {end - start:.2f}%; top: {top:.2f}%")
    if point.y_interval is not None:
        start, end = sorted(map(up.place, point.y_interval))
        bar = ui.element("i").classes("plane-high").props("aria-hidden=true")
        bar.style(f"bottom: {start:.2f}%; height: {end - start:.2f}%; left: {left:.2f}%")
    dot = ui.element("i").classes("plane-dot").props("aria-hidden=true")
    dot.style(f"left: {left:.2f}%; top: {top:.2f}%")


def _draw_point(
    point: Point,
    place: tuple[float, float],
    moved: tuple[float, float],
    measures: tuple[Measure, Measure],
) -> ui.element:
    left, top = place
    button = text("button", point.mark, classes="plane-point mark").props("type=button")
    said = ", ".join(
        f"{measure.label} {wording.number(value)}"
        for measure, value in zip(measures, (point.x, point.y), strict=True)
    )
    button.props["aria-label"] = f"{point.mark}, {point.name}: {said}. Show its images"
    button.props["title"] = f"{point.name}: {said}"
    button.style(
        f"left: {left:.2f}%; top: {top:.2f}%; --dx: {moved[0]:.0f}px; --dy: {moved[1]:.0f}px"
    )
    return button
