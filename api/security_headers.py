"""What every answer tells browsers: take it for what it is, run nothing of it, show it nowhere."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Of every answer that names no other: nothing in it is loaded or framed, and a file of a user
# that a browser opens has a place of its own there, without scripts, forms and cookies.
POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_DEFAULTS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",  # files and pages name what may be kept
}
# By the browsers' rules it counts only in what came by TLS.
_TRANSPORT = "max-age=31536000"


class SecurityHeaders:
    """The outermost middleware: refusals and failures have the headers too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_to(MutableHeaders(scope=message), scheme=scope["scheme"])
            await send(message)

        await self._app(scope, receive, tell)


def add_to(headers: MutableHeaders, *, scheme: str | None) -> None:
    """Give an answer the headers, besides those that it has."""
    headers.update(_ALWAYS)
    for name, value in _DEFAULTS.items():
        headers.setdefault(name, value)
    if scheme == "https":
        headers["Strict-Transport-Security"] = _TRANSPORT
