"""NiceGUI's application within ours: its place among the routes, its life, its headers."""

import logging
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from traceback import walk_tb
from types import CodeType

from fastapi import FastAPI
from nicegui import __version__, core
from nicegui.app import App
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse
from starlette.routing import Match, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import PUBLIC, refuse
from api.runtime import Runtime
from api.studio import login, page_connections
from services.errors import ForbiddenError, ServiceError

# Modules of `api.studio.pages`; the last one takes what the others leave.
PAGES = (
    *("home", "seed", "train", "runs", "losses", "datasets", "restorers", "restore", "compare"),
    *("admin", "missing"),
)
ASSETS = Path(__file__).with_name("assets")
# Seconds that a page which lost its connection is kept, with what it shows.
RECONNECT_SECONDS = 30.0
# Seconds in which a failure of open pages is logged once.
FAILURE_SECONDS = 60.0
_SCRIPTS = "/_nicegui/"
# The addresses of components tell neither their version nor ours.
_COMPONENTS = f"{_SCRIPTS}{__version__}/components/"

_log = logging.getLogger(__name__)
# What failed lately, by its kind and the way to it, and when that was logged.
_failures: dict[tuple[type[Exception], frozenset[tuple[CodeType, int]]], float] = {}


def install(app: FastAPI, runtime: Runtime) -> None:
    """Let `app` show the studio wherever no other route is; call it after all other routes."""
    login.install(app)

    @app.get("/favicon.ico", include_in_schema=False, dependencies=[PUBLIC])
    def show_icon() -> FileResponse:
        return FileResponse(ASSETS / "icon.svg", headers={"Cache-Control": "max-age=86400"})

    app.mount("/assets", _Assets(directory=ASSETS), name="assets")
    app.router.routes.append(_Studio(runtime))


@asynccontextmanager
async def running() -> AsyncIterator[None]:
    """Let pages talk with browsers."""
    studio = _nicegui()
    async with studio.router.lifespan_context(studio):
        yield


@cache
def _nicegui() -> App:
    """NiceGUI's application, of which a process has one, with our pages."""
    studio = core.app
    studio.config.add_run_config(
        reload=False,
        title="MDF studio",
        viewport="width=device-width, initial-scale=1",
        favicon=ASSETS / "icon.svg",
        dark=None,
        language="en-US",
        binding_refresh_interval=None,
        reconnect_timeout=RECONNECT_SECONDS,
        message_history_length=1000,
        tailwind=False,
        unocss=None,
        prod_js=True,
        show_welcome_message=False,
        markdown=False,
    )
    studio.config.socket_io_js_transports = ["websocket"]
    # Quasar's bar tells of every request; ours tell of uploads, in their place.
    studio.config.quasar_config["loadingBar"]["skipHijack"] = True
    studio.add_middleware(PageHeaders)
    studio.add_middleware(GZipMiddleware)
    # NiceGUI would log each refusal as a failure, as often as a browser likes.
    studio._exception_handlers[:] = [note_once]
    for name in PAGES:
        import_module(f"api.studio.pages.{name}")
    page_connections.hold_to_their_pages()
    return studio


def note(error: Exception) -> None:
    """Log what should not have happened; what is refused is told on the page, and that is all."""
    if isinstance(error, SQLAlchemyError):
        _log.warning("a page has no database: %s", type(error).__name__)
    elif not isinstance(error, ServiceError):
        _log.error("a page failed", exc_info=error)


def note_once(error: Exception) -> None:
    """Log what failed in an open page, where a browser can have the same fail again and again."""
    now = time.monotonic()
    for each in [each for each, told in _failures.items() if told < now - FAILURE_SECONDS]:
        del _failures[each]
    way = frozenset((frame.f_code, line) for frame, line in walk_tb(error.__traceback__))
    if (type(error), way) not in _failures:
        _failures[type(error), way] = now
        note(error)


class _Studio(Mount):
    """Takes what no other route does: the pages, their connection, and what browsers mistype."""

    def __init__(self, runtime: Runtime) -> None:
        studio = _nicegui()
        super().__init__("", app=studio, name="studio")
        self._runtime = runtime
        # Apart from the pages, one of which takes each address: a script that is not there is
        # the API's to refuse, and makes no page for callers whom nobody has let in.
        scripts = [
            each
            for each in studio.routes
            if isinstance(each, Route | Mount) and each.path.startswith(_SCRIPTS)
        ]
        self._scripts = GZipMiddleware(PageHeaders(Router(scripts, redirect_slashes=False)))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, with what its page needs."""
        if scope["type"] == "websocket":
            if not page_connections.is_of_its_page(scope):
                refusal = ForbiddenError("this connection is of a page that another key has opened")
                await refuse(scope, refusal, receive, send)
                return
            scope["state"]["runtime"] = self._runtime
            with page_connections.making_room(scope, send):
                await super().handle(scope, page_connections.Hearing(receive), send)
            return
        if scope["path"].startswith(_SCRIPTS):
            # NiceGUI answers GET alone; the server leaves the body out where HEAD was asked.
            await self._scripts({**scope, "method": "GET"}, receive, send)
            return
        scope["state"]["runtime"] = self._runtime
        await super().handle(scope, receive, send)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As any mount; what is not for people keeps the API's own answers."""
        return super().matches(scope) if _is_of_the_studio(scope) else (Match.NONE, {})


def _is_of_the_studio(scope: Scope) -> bool:
    path = scope["path"]
    if scope["type"] == "websocket":
        return bool(path == page_connections.PATH)
    if scope["method"] not in ("GET", "HEAD") or path.startswith(("/v1/", "/_nicegui_ws/")):
        return False
    if path.startswith(_SCRIPTS):
        return True
    is_looked_at = path == "/" or "text/html" in Headers(scope=scope).get("accept", "")
    return is_looked_at and "caller" in scope["state"]


class _Assets(StaticFiles):
    """Styles and scripts of ours: asked for again each time, answered if they have changed."""

    def file_response(self, *args, **kwargs):  # type: ignore[no-untyped-def]  # as Starlette's
        """With a header that has browsers ask."""
        answer = super().file_response(*args, **kwargs)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


class PageHeaders:
    """A Content-Security-Policy for each page, and how long its scripts may be kept.

    NiceGUI's template has scripts in the page: each gets the page's nonce. What users have written
    stands in the page escaped, so that no other `<script` is there. NiceGUI evaluates what the
    server sends over the page's connection, hence 'unsafe-eval'.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # What a proxy may name as its folder would stand in the page: the studio is at the root.
        scope["headers"] = [each for each in scope["headers"] if each[0] != b"x-forwarded-prefix"]
        held: Message | None = None

        async def tell(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if scope["path"].startswith(_SCRIPTS) and message["status"] < 400:
                    headers["Cache-Control"] = _kept(scope["path"])
                if headers.get("content-type", "").startswith("text/html"):
                    held = message
                    return
            elif held is not None:  # NiceGUI renders a page whole
                nonce = secrets.token_urlsafe(16)
                message["body"] = _with_nonce(message["body"], nonce)
                headers = MutableHeaders(scope=held)
                headers["Content-Security-Policy"] = policy(nonce)
                headers["Content-Length"] = str(len(message["body"]))
                await send(held)
                held = None
            await send(message)

        await self._app(scope, receive, tell)


def policy(nonce: str) -> str:
    """What a page may use: this service's own scripts, styles, pictures and answers."""
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def _with_nonce(page: bytes, nonce: str) -> bytes:
    return re.sub(rb"<script\b", f'<script nonce="{nonce}"'.encode(), page)


def _kept(path: str) -> str:
    if path.startswith(_COMPONENTS):
        return "no-cache"
    return "public, max-age=31536000, immutable"
