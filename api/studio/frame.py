"""What all pages share: who may open them, the bar above, and errors in words."""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from hashlib import sha256
from typing import Any

from fastapi import Request
from nicegui import Client, ui
from nicegui.elements.mixins.text_element import TextElement
from sqlalchemy.exc import SQLAlchemyError

from api.studio.hosting import ASSETS, note
from api.studio.page_connections import forget
from api.studio.visitor import Visitor
from services import access
from services.access import Caller
from services.errors import NotFoundError, ServiceError, UnauthenticatedError

Builder = Callable[..., Awaitable[None]]

# The places in the bar: their addresses and names.
PLACES = {
    "/": "Home",
    "/seed": "Seed",
    "/train": "Train",
    "/runs": "Runs",
    "/losses": "Losses",
    "/datasets": "Data sets",
    "/restorers": "Restorers",
    "/restore": "Restore",
    "/compare": "Compare",
    "/admin": "Admin",
}
# Pages of a key that wait for their browser to connect, at first or again; each takes more than
# half a megabyte.
MOST_WAITING = 50
BUILDING_SECONDS = 30.0  # then a page is given up; a busy server may need some for one
THEMES = {"auto": None, "light": False, "dark": True}


def page(path: str, *, title: str, needs: access.Scope = "read") -> Callable[[Builder], Builder]:
    """Make a function the page at `path`: it is given the visitor, and fills the page's main part.

    Its other parameters are those of the path and the query, as FastAPI takes them. What it
    raises is told on the page.
    """

    def decorate(build: Builder) -> Builder:
        @wraps(build)
        async def show(request: Request, client: Client, **given: Any) -> None:
            visitor = Visitor.of(request)
            _make_room(visitor.caller)
            client.on_exception(lambda error: _tell(client, error))
            _draw_frame(request, client, visitor)
            # NiceGUI's own page around it is the `main` landmark.
            main = ui.element("div").props("id=main tabindex=-1").classes("studio-main")
            with main:
                try:
                    if not visitor.caller.may(needs):
                        _say_not_for_you(needs)
                        return
                    await build(visitor, **given)
                except ServiceError as error:
                    client.status_code = 404 if isinstance(error, NotFoundError) else 422
                    main.clear()
                    _say_failed(error)
                except Exception as error:  # noqa: BLE001 - NiceGUI would show its words
                    note(error)
                    client.status_code = 503 if isinstance(error, SQLAlchemyError) else 500
                    main.clear()
                    _say_broken(error)

        own = inspect.signature(show).parameters
        first = [
            inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request),
            inspect.Parameter("client", inspect.Parameter.KEYWORD_ONLY, annotation=Client),
        ]
        rest = [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for name, each in own.items()
            if name != "visitor"
        ]
        show.__signature__ = inspect.Signature([*first, *rest])  # type: ignore[attr-defined]
        show.needs = needs  # type: ignore[attr-defined]  # each page's rule can be told
        titled = f"{title} · MDF studio"
        ui.page(path, title=titled, response_timeout=BUILDING_SECONDS)(show)
        return build

    return decorate


@contextmanager
def telling(where: TextElement) -> Iterator[None]:
    """Have what a service refuses told beside its cause: `where` is an element with role alert."""
    where.set_text("")
    try:
        yield
    except ServiceError as error:
        if isinstance(error, UnauthenticatedError):
            raise
        where.set_text(error.message)


def problem_line() -> TextElement:
    """A place for words on what is wrong, read aloud when they appear."""
    return text("p", "", classes="problem").props("role=alert")


def style(name: str) -> None:
    """Let the page have the style sheet `name` of the assets, once."""
    sheet = f'<link rel="stylesheet" href="{_address(f"{name}.css")}">'
    if sheet not in ui.context.client.head_html:
        ui.add_head_html(sheet)


@cache
def _address(name: str) -> str:
    """Where an asset lies, told anew when it changes."""
    return f"/assets/{name}?{sha256((ASSETS / name).read_bytes()).hexdigest()[:12]}"


def text(tag: str, content: str, *, classes: str = "") -> TextElement:
    """An HTML element that holds a text; later ones by `set_text`."""
    element = TextElement(tag=tag, text=content)
    return element.classes(classes) if classes else element


def heading(title: str, *, lead: str = "") -> None:
    """The page's own heading, and a sentence on what is to be had here."""
    with ui.element("div").classes("page-head"):
        text("h1", title)
        if lead:
            text("p", lead, classes="lead")


@contextmanager
def panel(title: str, *, level: int = 2, classes: str = "") -> Iterator[ui.element]:
    """A part of a page with a heading of its own."""
    with ui.element("section").classes(f"panel {classes}") as section:
        text(f"h{level}", title)
        yield section


def empty(advice: str, *, action: str = "", to: str = "") -> None:
    """What to do where there is nothing yet."""
    with ui.element("div").classes("empty"):
        text("p", advice)
        if action:
            link(action, to, classes="button")


def link(words: str, to: str, *, classes: str = "") -> TextElement:
    """A link to another page, or to a file."""
    anchor = text("a", words, classes=classes)
    anchor.props["href"] = to
    return anchor


def button(words: str, act: Callable[[], Any] | None = None, *, classes: str = "") -> TextElement:
    """A button; without `button` among its classes it is a quiet one."""
    made = text("button", words, classes=classes or "plain").props("type=button")
    return made if act is None else made.on("click", lambda _: act(), args=[])


def _make_room(caller: Caller) -> None:
    """Forget the oldest of the pages that the caller fetched and no browser has open."""
    waiting = [
        page
        for page in Client.instances.values()
        if not page.has_socket_connection and page.request.state.caller.key_id == caller.key_id
    ]
    for page in waiting[:-MOST_WAITING]:
        forget(page)


def _draw_frame(request: Request, client: Client, visitor: Visitor) -> None:
    style("studio")
    ui.add_head_html(f'<script src="{_address("studio.js")}" defer></script>')
    ui.colors(primary="#0b6e69", negative="#b3261e", positive="#2e7d32", warning="#8a5a00")
    theme = request.cookies.get("mdf_theme", "auto")
    dark = ui.dark_mode(THEMES.get(theme))
    with client.layout, ui.element("header").classes("studio-bar") as bar:
        bar.move(target_index=0)  # before the `main` landmark, not in it
        link("Skip to content", "#main", classes="skip")
        link("MDF studio", "/", classes="brand")
        with ui.element("nav").props('aria-label="Pages"'):
            for address, name in PLACES.items():
                if address == "/admin" and not visitor.is_admin:
                    continue
                here = _is_here(request.url.path, address)
                place = link(name, address)
                if here:
                    place.props('aria-current="page"')
        with ui.element("div").classes("bar-end"):
            _draw_theme(theme, dark)
            if visitor.caller.session_id is not None:
                text("span", visitor.caller.owner, classes="who")
                button("Log out").on("click", js_handler=_LOG_OUT)


def _draw_theme(theme: str, dark: ui.dark_mode) -> None:
    choice = ui.element("select").props('aria-label="Theme"').classes("theme")
    with choice:
        for name in THEMES:
            option = text("option", name.capitalize()).props(f"value={name}")
            if name == theme:
                option.props("selected")
    choice.on(
        "change",
        lambda event: dark.set_value(THEMES.get(event.args)),
        js_handler=_KEEP_THEME,
    )


# A year; the choice is no secret, and the next page begins with it.
_KEEP_THEME = """(event) => {
  document.cookie = `mdf_theme=${event.target.value};path=/;max-age=31536000;samesite=strict`;
  emit(event.target.value);
}"""
_LOG_IN_AGAIN = """location.assign(
  `/login?next=${encodeURIComponent(location.pathname + location.search)}`
)"""
_LOG_OUT = (
    """() => fetch("/v1/session", {method: "DELETE"}).then(() => location.assign("/login"))"""
)


def _is_here(path: str, address: str) -> bool:
    return path == address or (address != "/" and path.startswith(f"{address}/"))


def _say_not_for_you(needs: access.Scope) -> None:
    heading("Not with this key")
    empty(f"This page needs an API key with the scope {needs}.", action="Home", to="/")


def _say_failed(error: ServiceError) -> None:
    heading("This is not there" if isinstance(error, NotFoundError) else "This cannot be shown")
    empty(error.message, action="Home", to="/")


def _say_broken(error: Exception) -> None:
    heading("This cannot be shown")
    empty(_in_words(error), action="Home", to="/")


def _in_words(error: Exception) -> str:
    """Of what should not have happened, no more than that; the log has the rest."""
    if isinstance(error, SQLAlchemyError):
        return "The database does not answer: try again in a moment."
    return "Something failed here; the server's log says what."


def _tell(client: Client, error: Exception) -> None:
    """Say what became of something a person did."""
    with client:
        if isinstance(error, UnauthenticatedError):
            for each in [*client.elements.values()]:  # what asks now and then asks no more
                if isinstance(each, ui.timer):
                    each.cancel()
            ui.run_javascript(_LOG_IN_AGAIN)
        elif isinstance(error, ServiceError):
            ui.notify(error.message, type="negative", multi_line=True, close_button="Close")
        else:
            ui.notify(_in_words(error), type="negative")
