"""Questions that are put before something happens, in dialogs of the browser's own."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

from nicegui import ui

from api.studio.frame import button, style, text

# What is done at a yes; it is given the values of the dialog's fields by their names.
Act = Callable[[Mapping[str, str]], Awaitable[None]]


@contextmanager
def dialog(
    words: str,
    *,
    title: str,
    act: Act,
    does: str,
    keep: str = "Keep it as it is",
    classes: str = "plain",
) -> Iterator[None]:
    """A button that asks before it acts; fill the dialog with what is to be known, and fields.

    The browser keeps the focus in it, closes it on Escape, and gives the focus back.

    Args:
        words: on the button.
        title: the question.
        act: is called at a yes.
        does: what the dialog's own button says.
        keep: what its other one says.
        classes: of both the button and the dialog's own.
    """
    style("dialogs")
    opener = button(words, classes=classes)
    with ui.element("dialog") as box, ui.element("form") as form:
        heading = text("h2", title)
        box.props["aria-labelledby"] = heading.html_id
        yield
        with ui.element("div").classes("row decide"):
            button(keep).on("click", js_handler=_CLOSE)
            button(does, classes=classes if "danger" in classes else "button").props("type=submit")
    opener.on("click", js_handler=f"() => getHtmlElement({box.id}).showModal()")
    form.on("submit", lambda event: act(event.args), js_handler=_CLOSE_AND_TELL)


_CLOSE = "(event) => event.target.closest('dialog').close()"
_CLOSE_AND_TELL = """(event) => {
  event.preventDefault();
  event.target.closest('dialog').close();
  emit(Object.fromEntries(new FormData(event.target)));
}"""
