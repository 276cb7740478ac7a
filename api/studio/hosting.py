"""NiceGUI's application within ours: its place among the routes, its life, its headers."""

import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from importlib import import_module
from inspect import isawaitable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI
from nicegui import Client, __version__, core
from nicegui.app import App
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import PUBLIC, refuse
from api.runtime import Runtime
from api.studio import login
from services.access import Caller
from services.errors import ForbiddenError, ServiceError

# Modules of `api.studio.pages`; the last one takes what the others leave.
PAGES = (
    *("home", "seed", "train", "runs", "losses", "datasets", "restorers", "restore", "compare"),
    *("admin", "missing"),
)
ASSETS = Path(__file__).with_name("assets")
# Seconds that a page which lost its connection is kept, with what it shows.
RECONNECT_SECONDS = 30.0
_NICEGUI = f"/_nicegui/{__version__}/"
_COMPONENTS = f"{_NICEGUI}components/"

_log = logging.getLogger(__name__)


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
    # Quasar's bar tells of every request; ours tell of uploads, in their place.
    studio.config.quasar_config["loadingBar"]["skipHijack"] = True
    studio.add_middleware(PageHeaders)
    studio.add_middleware(GZipMiddleware)
    # NiceGUI would log each refusal as a failure, as often as a browser likes.
    studio._exception_handlers[:] = [note]
    for name in PAGES:
        import_module(f"api.studio.pages.{name}")
    _hold_connections_to_their_pages()
    return studio


def note(error: Exception) -> None:
    """Log what should not have happened; what is refused is told on the page, and that is all."""
    if isinstance(error, SQLAlchemyError):
        _log.warning("a page has no database: %s", type(error).__name__)
    elif not isinstance(error, ServiceError):
        _log.error("a page failed", exc_info=error)


def _hold_connections_to_their_pages() -> None:
    """Hear of each connection what is said for the page that it was let in for, nothing else.

    A message names its page; NiceGUI believes it.
    """
    heard = core.sio.handlers["/"]
    for name in ("handshake", "event", "javascript_response", "ack"):
        heard[name] = _of_its_own_page(heard[name])
    heard["log"] = _hear_nothing  # what a browser says is none of our log's business


def _of_its_own_page(hear: Callable[..., Any]) -> Callable[..., Any]:
    async def hear_own(connection: str, said: object = None) -> Any:
        query = parse_qs(core.sio.get_environ(connection)["QUERY_STRING"])
        if not isinstance(said, dict) or said.get("client_id") not in query["client_id"][:1]:
            return False
        try:
            answer = hear(connection, said)
            return await answer if isawaitable(answer) else answer
        except (AttributeError, LookupError, TypeError, ValueError):  # no page's script says so
            return False

    return hear_own


async def _hear_nothing(_: str, *__: object) -> bool:
    return False


class _Studio(Mount):
    """Takes what no other route does: the pages, their connection, and what browsers mistype."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__("", app=_nicegui(), name="studio")
        self._runtime = runtime

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, with what its page needs."""
        if scope["path"].startswith("/_nicegui_ws/") and not _is_of_its_page(scope):
            refusal = ForbiddenError("this connection is of a page that another key has opened")
            await refuse(scope, refusal, receive, send)
            return
        scope["state"]["runtime"] = self._runtime
        await super().handle(scope, receive, send)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As any mount; what is not for people keeps the API's own answers."""
        path = scope["path"]
        if scope["type"] == "http":
            is_talk = path.startswith(("/_nicegui/", "/_nicegui_ws/"))
            is_looked_at = scope["method"] in ("GET", "HEAD") and (
                path == "/" or "text/html" in Headers(scope=scope).get("accept", "")
            )
            if not (is_talk or (is_looked_at and not path.startswith("/v1/"))):
                return Match.NONE, {}
        return super().matches(scope)


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
                if scope["path"].startswith(_NICEGUI):
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


def _is_of_its_page(scope: Scope) -> bool:
    """Whether a page's connection comes from whom the page was shown to; a lost page has none."""
    (client_id,) = parse_qs(scope["query_string"].decode("latin-1")).get("client_id", [""])[:1]
    client = Client.instances.get(client_id)
    if client is None:
        return bool(client_id)
    shown_to: Caller = client.request.state.caller
    asking: Caller = scope["state"]["caller"]
    return (shown_to.key_id, shown_to.session_id) == (asking.key_id, asking.session_id)


def _with_nonce(page: bytes, nonce: str) -> bytes:
    return re.sub(rb"<script\b", f'<script nonce="{nonce}"'.encode(), page)


def _kept(path: str) -> str:
    # The addresses of components tell neither their version nor ours.
    if path.startswith(_COMPONENTS):
        return "no-cache"
    return "public, max-age=31536000, immutable"
