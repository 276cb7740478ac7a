"""Ids, short, and texts that can be copied."""

from nicegui import ui

from api.studio.frame import button, text


def short_id(whole: str) -> None:
    """`job_…4f2a91c0`, with a button that copies all of it."""
    kind, _, rest = whole.partition("_")
    with ui.element("span").classes("short-id"):
        shown = text("code", f"{kind}_…{rest[-8:]}")
        shown.props["title"] = whole
        copy_button(whole, of=f"id {whole}")


def copy_button(content: str, *, of: str, words: str = "Copy") -> None:
    """A button that puts `content` on the clipboard; `of` says what, to those who cannot see."""
    made = button(words, classes="plain small")
    made.props["data-copy"] = content
    made.props["aria-label"] = f"{words} {of}"


def code(content: str, *, of: str) -> None:
    """Code to paste elsewhere, with a button that copies it."""
    with ui.element("div").classes("code-block"):
        shown = text("pre", content, classes="code")
        shown.props["tabindex"] = "0"
        shown.props["aria-label"] = of
        copy_button(content, of=of)
