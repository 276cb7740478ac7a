"""Charts in the colours of the page, with what they say in words beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from nicegui.element import Element
from nicegui.elements import echart

from api.studio import wording
from api.studio.frame import style

# Points of a line: what a small chart has room for is well below that.
MOST_POINTS = 1000
DASHES: tuple[Literal["solid", "dashed", "dotted"], ...] = ("solid", "dashed", "dotted")
COLOURS = tuple(f"var(--series-{number})" for number in range(1, 7))


class Key(TypedDict):
    """One entry of a chart's legend, with its latest value as text."""

    name: str
    colour: str
    dash: Literal["solid", "dashed", "dotted"]
    value: str


class Chart(
    Element,
    component="chart.js",
    esm={"nicegui-echart": str(Path(echart.__file__).parent / "dist")},
):
    """Any chart of Apache ECharts; it is drawn when it comes into view.

    Colours in `options` may be variables of the style sheets, `var(--accent)`: they follow the
    theme. Axes, grid lines and the tooltip are coloured here.

    Args:
        title: what is shown, above the chart.
        words: what is to be seen in it, for those who do not see it.
        options: as ECharts takes them.
        keys: the legend, shown beside the title.
        height: as CSS has it.
    """

    def __init__(
        self,
        *,
        title: str,
        words: str,
        options: Mapping[str, Any],
        keys: Sequence[Key] = (),
        height: str = "220px",
    ) -> None:
        super().__init__()
        style("chart")
        self.props["title"] = title
        self.props["height"] = height
        self.show(options, words=words, keys=keys)

    def show(self, options: Mapping[str, Any], *, words: str, keys: Sequence[Key] = ()) -> None:
        """Show something else."""
        self.props["words"] = words
        self.props["keys"] = list(keys)
        self.props["options"] = dict(options)


@dataclass(frozen=True)
class Line:
    """A curve: values at rising places; a value that is None leaves a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]


class LineChart(Chart):
    """Curves over a common axis, the latest value of each beside its name.

    Args:
        series: the curves; six at most can be told apart.
        title: what they are; `y_name` if it is left out.
        x_name: what the horizontal axis counts.
        y_name: what the vertical axis measures, with its unit.
        log: whether the vertical axis is logarithmic; values of zero and less are left out.
        x_max: where the horizontal axis ends; with the data if it is left out.
        height: as CSS has it.
    """

    def __init__(
        self,
        series: Sequence[Line] = (),
        *,
        x_name: str,
        y_name: str,
        title: str = "",
        log: bool = False,
        x_max: float | None = None,
        height: str = "220px",
    ) -> None:
        self._x_name = x_name
        self._y_name = y_name
        self._log = log
        self._x_max = x_max
        super().__init__(title=title or y_name, words="", options={}, height=height)
        self.set(series)

    def set(self, series: Sequence[Line]) -> None:
        """Show other curves, or the same ones gone on; those of too many points are thinned."""
        lines = [thinned(each) for each in series]
        self.show(
            self._options(lines),
            words=f"{self._y_name} over {self._x_name}: {_in_words(lines)}",
            keys=[_key(number, line) for number, line in enumerate(lines)],
        )

    def _options(self, lines: Sequence[Line]) -> dict[str, Any]:
        return {
            "animation": False,
            "grid": {"left": 46, "right": 12, "top": 10, "bottom": 40},
            "tooltip": {"trigger": "axis"},
            "xAxis": {
                "type": "value",
                "name": self._x_name,
                "nameLocation": "middle",
                "nameGap": 22,
                "min": 0 if self._x_max is not None else "dataMin",
                "max": self._x_max if self._x_max is not None else "dataMax",
                "splitLine": {"show": False},
            },
            "yAxis": {
                "type": "log" if self._log else "value",
                "scale": True,
                "splitNumber": 3,
            },
            "series": [
                {
                    "type": "line",
                    "name": line.name,
                    "data": [list(point) for point in zip(line.x, self._drawn(line), strict=True)],
                    "showSymbol": len(line.x) == 1,
                    "color": COLOURS[number % len(COLOURS)],
                    "lineStyle": {"width": 1.6, "type": DASHES[number % len(DASHES)]},
                }
                for number, line in enumerate(lines)
            ],
        }

    def _drawn(self, line: Line) -> Sequence[float | None]:
        if not self._log:
            return line.y
        return [value if value is not None and value > 0 else None for value in line.y]


def thinned(line: Line, most: int = MOST_POINTS) -> Line:
    """The line with at most `most` points, evenly apart, the first and the last among them."""
    if len(line.x) <= most:
        return line
    last = len(line.x) - 1
    kept = sorted({round(place * last / (most - 1)) for place in range(most)})
    return Line(line.name, [line.x[place] for place in kept], [line.y[place] for place in kept])


def _key(number: int, line: Line) -> Key:
    return {
        "name": line.name,
        "colour": COLOURS[number % len(COLOURS)],
        "dash": DASHES[number % len(DASHES)],
        "value": _latest(line),
    }


def _latest(line: Line) -> str:
    values = (value for value in reversed(line.y) if value is not None)
    value = next(values, None)
    return "" if value is None else wording.number(value)


def _in_words(lines: Sequence[Line]) -> str:
    told = [f"{line.name} now {_latest(line)}" for line in lines if line.x]
    return "; ".join(told) or "nothing yet"
