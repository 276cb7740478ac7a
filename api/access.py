"""Who may do what: every request is let in here, and every route names the scope it needs.

Without API keys the service is for this machine's user: only requests from loopback,
addressed to loopback (a foreign page that rebinds its name to 127.0.0.1 is not), through no
proxy, and not sent by a web page of another origin. With a key in force, everybody needs one,
or the cookie of a browser session that began with one. The studio's pages, and the connection
that an open page keeps, are let in as requests are.
"""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated
from urllib.parse import quote

import anyio
from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api import cookies
from api.errors import DATABASE_FAULTS, database_problem, service_problem
from services import access, browser_sessions, keys
from services.access import LOCAL, Caller
from services.errors import ForbiddenError, ServiceError, UnauthenticatedError
from services.exposure import is_loopback
from services.installation import Installation

PROTECTED = ("/v1/", "/metrics")
# What is for everybody, whole folders ending in a slash: to ask how the service is and how it is
# used, to log in, and the scripts and styles of pages.
FREE = (
    *("/healthz", "/readyz", "/openapi.json", "/docs", "/login", "/favicon.ico"),
    *("/assets/", f"/_nicegui/{version('nicegui')}/"),
)
# Where a browser is let in, and the methods there that are for those who have been.
_ENTRANCE = "/v1/session"
_INSIDE = frozenset({"GET", "HEAD", "DELETE"})
# What proxies add: a request that has it comes from this machine by its last step only.
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")

bearer = HTTPBearer(auto_error=False, description="an API key: `mdf_<id>_<secret>`")


class Guard:
    """Finds out who calls before a byte of the body is read."""

    def __init__(self, app: ASGIApp, installation: Installation) -> None:
        self._app = app
        self._installation = installation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, with its caller, or refuse it."""
        if _is_guarded(scope):
            try:
                caller = await anyio.to_thread.run_sync(self._admit, scope)
            except (ServiceError, *DATABASE_FAULTS) as error:
                # With its traceback it would hold itself, this call and the body that nobody
                # reads, until the garbage collector comes.
                await _turn_away(scope, error.with_traceback(None), receive, send)
                return
            scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> Caller:
        headers = Headers(scope=scope)
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return keys.authenticate(self._installation.database, token.strip())
        secret = cookies.token(scope, headers)
        if secret is not None:
            caller = browser_sessions.recognise(self._installation.database, secret)
            if caller is not None:
                cookies.check_cookie_use(scope, headers)
                return caller
        with self._installation.database.read() as session:
            if keys.required(session):
                raise UnauthenticatedError(
                    "this service asks for an API key: send `Authorization: Bearer mdf_…`"
                )
        _check_local(scope, headers)
        return LOCAL


@dataclass(frozen=True)
class Needs:
    """The dependency by which a route names its scope; gives the caller."""

    scope: access.Scope

    async def __call__(self, request: Request, _: Annotated[object, Depends(bearer)]) -> Caller:
        """The caller, who holds the scope. The Guard has read the key; `bearer` documents it."""
        caller: Caller = request.state.caller
        if not caller.may(self.scope):
            raise ForbiddenError(f"this needs an API key with the scope {self.scope}")
        return caller


async def public() -> None:
    """The dependency by which a route says that it is for everybody."""


PUBLIC = Depends(public)
Reader = Annotated[Caller, Depends(Needs("read"))]
Writer = Annotated[Caller, Depends(Needs("write"))]
Admin = Annotated[Caller, Depends(Needs("admin"))]


def is_free(path: str) -> bool:
    """Whether everybody may ask for what lies there."""
    return any(path.startswith(each) if each.endswith("/") else path == each for each in FREE)


def is_open(method: str, path: str) -> bool:
    """Whether everybody may ask so, below what is protected; no such method is told there, too."""
    return path == _ENTRANCE and method not in _INSIDE


def _is_guarded(scope: Scope) -> bool:
    if scope["type"] == "websocket":
        return True
    if scope["type"] != "http" or is_free(scope["path"]):
        return False
    return not is_open(scope["method"], scope["path"])


def _is_page(scope: Scope) -> bool:
    """Whether a browser asks for a page, to show it to a person."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and not scope["path"].startswith(PROTECTED)
        and "text/html" in Headers(scope=scope).get("accept", "")
    )


async def _turn_away(scope: Scope, error: Exception, receive: Receive, send: Send) -> None:
    if isinstance(error, UnauthenticatedError) and _is_page(scope):
        query = scope["query_string"].decode("latin-1")
        place = quote(f"{scope['path']}{query and f'?{query}'}", safe="/")
        answer = RedirectResponse(f"/login?next={place}", status_code=303)
        await answer(scope, receive, send)
    elif isinstance(error, ServiceError):
        await refuse(scope, error, receive, send)
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1013})
    else:  # the framework's handlers lie further inside
        await database_problem(scope, error)(scope, receive, send)


async def refuse(scope: Scope, error: ServiceError, receive: Receive, send: Send) -> None:
    """Answer a request with a problem; a connection is closed before it opens."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
    else:
        await service_problem(scope, error)(scope, receive, send)


def _check_local(scope: Scope, headers: Headers) -> None:
    client = scope.get("client")
    if client is None or not is_loopback(client[0]) or any(name in headers for name in _FORWARDED):
        raise UnauthenticatedError(
            "without API keys this service answers its own machine only: make a key there first"
        )
    host = headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if not is_loopback(name):
        raise ForbiddenError(
            f"without API keys this service answers to localhost only, not to {host[:80]!r}"
        )
    cookies.check_page(
        scope, headers, "without API keys this service does not answer web pages of another origin"
    )
