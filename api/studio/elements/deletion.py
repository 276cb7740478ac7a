"""Deleting: a button, a question before it does so, and what stood in the way."""

from collections.abc import Awaitable, Callable, Mapping

from nicegui import ui

from api.studio.elements.dialogs import dialog
from api.studio.frame import problem_line, telling, text


def deletion(of: str, *, consequence: str, act: Callable[[], Awaitable[None]]) -> None:
    """A button that deletes after a yes; what the service refuses is told below it.

    Args:
        of: what is deleted, as in "data set photos".
        consequence: what goes with it.
        act: deletes, and leads elsewhere.
    """

    async def delete(_: Mapping[str, str]) -> None:
        with telling(problem):
            await act()

    title = f"Delete {of}?"
    with (
        ui.element("div").classes("row"),
        dialog("Delete …", title=title, act=delete, does="Delete", classes="plain danger"),
    ):
        text("p", consequence)
    problem = problem_line()
