"""The values of a training over its iterations, kept so that they can be drawn."""

from collections.abc import Mapping, Sequence

from api.studio.elements.charts import Line
from api.studio.pages.runs.news import Point


class Curves:
    """The points of one scale: `most` to twice as many of them, evenly apart."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._points: list[Point] = []

    def take(self, points: Sequence[Point], *, anew: bool) -> None:
        """Go on with `points`, or begin anew with them."""
        self._points = [*([] if anew else self._points), *points]
        if len(self._points) > 2 * self._most:
            self._points = [*self._points[:-1:2], self._points[-1]]

    @property
    def names(self) -> set[str]:
        """What there are values of."""
        return {name for _, values in self._points for name in values}

    def line(self, key: str, name: str) -> Line:
        """The values of `key`, as a line of a chart."""
        found = [(step, _short(values[key])) for step, values in self._points if key in values]
        return Line(name, [step for step, _ in found], [value for _, value in found])

    def lines(self, names: Mapping[str, str]) -> list[Line]:
        """Those of several."""
        return [self.line(key, name) for key, name in names.items()]


def _short(value: float) -> float:
    """As exact as it can be drawn and read; a page has thousands of them."""
    return float(f"{value:.5g}")
