"""Small forms of the browser's own fields, sent whole when their button is pressed."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

from nicegui import ui

from api.studio.frame import button, problem_line, telling, text

# What a form does with the values of its fields, by their names; of boxes those that are ticked.
Send = Callable[[Mapping[str, str]], Awaitable[None]]


@contextmanager
def form(send: Send, *, does: str, classes: str = "fields") -> Iterator[None]:
    """A form; fill it with fields. What the service refuses is told below its button.

    Args:
        send: is given the values when somebody presses the button, or Enter.
        does: what the button says.
        classes: of the form.
    """

    async def act(values: Mapping[str, str]) -> None:
        with telling(problem):
            await send(values)

    with ui.element("form").classes(classes) as made:
        yield
        with ui.element("div").classes("row"):
            button(does, classes="button").props("type=submit")
        problem = problem_line()
    made.on("submit", lambda event: act(event.args), js_handler=_TELL)


_TELL = """(event) => {
  event.preventDefault();
  emit(Object.fromEntries(new FormData(event.target)));
}"""


def field(name: str, label: str, *, help: str = "", value: str = "", **limits: object) -> None:
    """A labelled line for a text or, with `type="number"`, a number.

    `limits` are HTML's own: `required`, `maxlength`, `pattern`, `min`, `max`, `step`,
    `placeholder`, `autocomplete`.
    """
    with ui.element("div").classes("field"):
        words = text("label", label)
        entry = ui.element("input").classes("text").props("autocomplete=off")
        words.props["for"] = entry.html_id
        # Not `value`: what somebody is typing would be put back whenever the page changes.
        entry.props.update({"name": name, "defaultValue": value, **limits})
        _explain(entry, help)


def choice(name: str, label: str, options: Mapping[str, str], *, chosen: str) -> None:
    """One of several; `options` are the values, and in words what they mean."""
    with ui.element("fieldset").classes("choices"):
        text("legend", label)
        for value, words in options.items():
            _box(name, words, value=value, type="radio", checked=value == chosen)


def ticks(label: str, options: Mapping[str, str], *, ticked: frozenset[str]) -> None:
    """Any of several; `options` are the names of the boxes, and what they mean."""
    with ui.element("fieldset").classes("choices"):
        text("legend", label)
        for name, words in options.items():
            _box(name, words, value="yes", type="checkbox", checked=name in ticked)


def _box(name: str, words: str, **attributes: object) -> None:
    with ui.element("label"):
        ui.element("input").props.update({"name": name, **attributes})
        text("span", words)


def _explain(entry: ui.element, help: str) -> None:
    if help:
        told = text("p", help, classes="help")
        entry.props["aria-describedby"] = told.html_id
