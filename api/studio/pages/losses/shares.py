"""Where a value comes from: the share of each scale and tap, as bars and numbers."""

from collections.abc import Awaitable, Callable, Sequence

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from api.studio.frame import style, text
from api.studio.wording import number
from services.losses.comparison import Term

# A scale and a tap; None stands for all of them.
Part = tuple[int | None, str | None]

# Heights of the table's rows, px.
_HEAD, _ROW = 36, 37


class Shares:
    """A table whose cells choose the part of which a map is drawn.

    Args:
        act: is given each part that is chosen.
        scales: how many there will be: what is below need not move when they come.
    """

    def __init__(self, act: Callable[[Part], Awaitable[None]], *, scales: int) -> None:
        style("chart")  # for the colours of its series
        self._act = act
        self._chosen: Part = (None, None)
        self._cells: dict[Part, TextElement] = {}
        self._bars: dict[tuple[int, str], ui.element] = {}
        self._percents: dict[int, TextElement] = {}
        self._place = ui.element("div").classes("scroll").props("role=region tabindex=0")
        self._place.props["aria-label"] = "share of each scale and tap in the value"
        self._place.style(f"min-height: {_HEAD + _ROW * (scales + 1)}px")

    def show(self, terms: Sequence[Term]) -> None:
        """Show these shares."""
        if not self._cells:
            self._draw(terms)
        values: dict[Part, float] = {(None, None): sum(term.value for term in terms)}
        for term in terms:
            parts: tuple[Part, ...] = (term.scale, term.tap), (term.scale, None), (None, term.tap)
            for part in parts:
                values[part] = values.get(part, 0.0) + term.value
        for part, cell in self._cells.items():
            cell.set_text(number(values[part], digits=3))
        total = values[None, None]
        largest = max(values[scale, None] for scale in self._percents)
        for scale, percent in self._percents.items():
            share = values[scale, None] / total if total else 0
            percent.set_text(f"{100 * share:.1f} %")
        for (scale, tap), bar in self._bars.items():
            width = 100 * values[scale, tap] / largest if largest else 0
            bar.style(f"width: {width:.2f}%")

    def choose(self, part: Part) -> None:
        """Have the cell of that part look chosen."""
        self._chosen = part
        for its, cell in self._cells.items():
            cell.props["aria-pressed"] = str(its == part).lower()

    def _draw(self, terms: Sequence[Term]) -> None:
        scales = list(dict.fromkeys(term.scale for term in terms))
        taps = list(dict.fromkeys(term.tap for term in terms))
        with self._place, ui.element("table").classes("plain-table shares"):
            with ui.element("thead"), ui.element("tr"):
                text("th", "Scale").props("scope=col")
                text("th", "Share of the value").props("scope=col colspan=2")
                text("th", "All taps", classes="number").props("scope=col")
                for place, tap in enumerate(taps):
                    with ui.element("th").classes("number").props("scope=col"):
                        ui.element("i").classes(f"swatch series-{place % 6 + 1}")
                        text("span", tap)
            with ui.element("tbody"):
                for scale in scales:
                    with ui.element("tr"):
                        text("th", _named(scale, len(scales))).props("scope=row")
                        with ui.element("td").classes("bar"), ui.element("div") as bar:
                            bar.props("aria-hidden=true")
                            for place, tap in enumerate(taps):
                                part = ui.element("span").classes(f"series-{place % 6 + 1}")
                                self._bars[scale, tap] = part
                        self._percents[scale] = text("td", "", classes="number")
                        self._draw_cells(scale, taps)
                with ui.element("tr"):
                    text("th", "All scales").props("scope=row")
                    text("td", "", classes="bar")
                    text("td", "100 %", classes="number")
                    self._draw_cells(None, taps)
        self.choose(self._chosen)

    def _draw_cells(self, scale: int | None, taps: Sequence[str]) -> None:
        for tap in (None, *taps):
            with ui.element("td").classes("number"):
                cell = text("button", "", classes="cell").props("type=button")
                cell.props["title"] = f"map of {in_words((scale, tap))}"
                cell.on("click", lambda _, part=(scale, tap): self._press(part), args=[])
                self._cells[scale, tap] = cell

    async def _press(self, part: Part) -> None:
        self.choose(part)
        await self._act(part)


def in_words(part: Part) -> str:
    """`scale 3, tap head`."""
    scale, tap = part
    return (
        f"{'all scales' if scale is None else f'scale {scale + 1}'}, "
        f"{'all taps' if tap is None else f'tap {tap}'}"
    )


def _named(scale: int, scales: int) -> str:
    ends = {0: " coarsest", scales - 1: " finest"} if scales > 1 else {}
    return f"{scale + 1}{ends.get(scale, '')}"
