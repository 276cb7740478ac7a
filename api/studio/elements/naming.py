"""Giving a thing another name."""

from collections.abc import Awaitable, Callable

from nicegui import ui
from pydantic import ValidationError

from api.schemas import NameChange
from api.studio.frame import button, problem_line, telling, text
from services.errors import BadInputError

# What is typed is asked of the browser at the press.
_TYPED = '(event) => emit(event.target.parentElement.querySelector("input").value)'


def naming(name: str, *, act: Callable[[str], Awaitable[object]]) -> None:
    """A field with the name, and a button that renames; what is refused is told below.

    Args:
        name: so far.
        act: gives the new name; the page is loaded again after it.
    """

    async def rename(wanted: str) -> None:
        with telling(problem):
            try:
                change = NameChange(name=wanted.strip())
            except ValidationError:
                raise BadInputError(
                    "A name has at most 200 characters, and none that moves the cursor."
                ) from None
            await act(change.name)
            ui.navigate.reload()

    with ui.element("div").classes("row"):
        label = text("label", "Name")
        field = ui.element("input").classes("text").props("type=text maxlength=200")
        # Not `value`: what somebody is typing would be put back whenever the page changes.
        field.props["defaultValue"] = name
        label.props["for"] = field.html_id
        made = button("Rename")
        made.on("click", lambda event: rename(str(event.args)), js_handler=_TYPED)
    problem = problem_line()
