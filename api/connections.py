"""One client's connection: HTTP/1.1, strictly, with an end to heads that never come to theirs."""

import asyncio
from functools import partial

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

# Of `scope["extensions"]`: a function that cuts the connection, whatever is still to be sent.
ABORT = "mdf.abort"
# Bytes of a request's first line and headers.
MAX_HEAD_BYTES = 1 << 16
# For a client to send them.
HEAD_SECONDS = 30.0


class Connection(H11Protocol):
    """Uvicorn's connection, which can be cut, and which waits so long for a request's head."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin; the first head is awaited."""
        super().connection_made(transport)
        self.app = partial(_abortable, self.app, transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._stop_watching()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_watching()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


async def _abortable(
    app: ASGIApp, transport: asyncio.Transport, scope: Scope, receive: Receive, send: Send
) -> None:
    scope.setdefault("extensions", {})[ABORT] = transport.abort
    await app(scope, receive, send)
