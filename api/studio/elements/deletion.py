"""Deleting: a button, a question in place of it, and what stood in the way."""

from collections.abc import Awaitable, Callable

from nicegui import ui

from api.studio.frame import button, problem_line, telling, text


def deletion(of: str, *, consequence: str, act: Callable[[], Awaitable[None]]) -> None:
    """A button that deletes after a second press; what the service refuses is told beside it.

    Args:
        of: what is deleted, as in "Delete data set photos".
        consequence: what goes with it.
        act: deletes, and leads elsewhere.
    """

    def ask(*, asked: bool) -> None:
        question.set_visibility(asked)
        first.set_visibility(not asked)
        problem.set_text("")

    async def delete() -> None:
        with telling(problem):
            await act()

    with ui.element("div").classes("deletion"):
        first = button("Delete …", lambda: ask(asked=True), classes="plain danger")
        first.props["aria-label"] = f"Delete {of} …"
        with ui.element("div").classes("row").props("role=alert") as question:
            text("span", f"Delete {of}? {consequence}")
            button("Delete", delete, classes="plain danger")
            button("Keep", lambda: ask(asked=False))
        question.set_visibility(False)
        problem = problem_line()
