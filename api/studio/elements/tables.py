"""Tables that scroll within their panel where they are too wide."""

from collections.abc import Callable, Collection, Sequence

from nicegui import ui

from api.studio.frame import text

# A text, or what fills the cell.
Cell = str | Callable[[], object]


class Table:
    """A table, to be filled row by row.

    Args:
        of: what it holds, to those who cannot see it.
        columns: their headings.
        numbers: those of them whose cells are numbers, and stand at the right.
    """

    def __init__(self, of: str, columns: Sequence[str], *, numbers: Collection[str] = ()) -> None:
        self._classes = ["number" if name in numbers else "" for name in columns]
        with ui.element("div").classes("scroll").props("role=region tabindex=0") as box:
            box.props["aria-label"] = of
            with ui.element("table").classes("plain-table"):
                with ui.element("thead"), ui.element("tr"):
                    for name, classes in zip(columns, self._classes, strict=True):
                        text("th", name, classes=classes).props("scope=col")
                self._body = ui.element("tbody")

    def row(self, *cells: Cell) -> None:
        """Add a row."""
        with self._body, ui.element("tr"):
            for cell, classes in zip(cells, self._classes, strict=True):
                if isinstance(cell, str):
                    text("td", cell, classes=classes)
                else:
                    with ui.element("td").classes(classes):
                        cell()

    def clear(self) -> None:
        """Take all rows out."""
        self._body.clear()
