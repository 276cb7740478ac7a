"""One client's connection: HTTP/1.1, strictly, and no longer than the client does its part."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from api import security_headers
from api.errors import problem

# Bytes of a request's first line and headers.
MAX_HEAD_BYTES = 1 << 16
# For a client to send them.
HEAD_SECONDS = 30.0
# For a client to take some of what it is sent, once the buffers are full; when the server stops.
STALL_SECONDS = 30.0
LAST_STALL_SECONDS = 1.0


class _Requests(h11.Connection):
    """Reads requests, each of which ends where everybody between sees it end."""

    def next_event(self) -> Any:
        """What comes next; one whose length is told in two ways is no request."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if {b"content-length", b"transfer-encoding"} <= names:
                raise h11.RemoteProtocolError("Content-Length beside Transfer-Encoding")
        return event


class Connection(H11Protocol):
    """Uvicorn's connection, cut when a request's head does not come or an answer is not taken.

    So nobody holds a connection, and what was written for it, by doing nothing.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin; the first head is awaited."""
        super().connection_made(transport)
        self.conn = _Requests(h11.SERVER, MAX_HEAD_BYTES)
        self._stall_seconds = STALL_SECONDS
        self._stall = _Limit(self.loop, transport)
        self._head = _Limit(self.loop, transport)
        self._head.start(HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        super().data_received(data)
        if self.transport.get_protocol() is not self:
            self._head.stop()  # a WebSocket from here on, which has limits of its own
        elif self.cycle is not None and not self.cycle.response_complete:
            self._head.stop()
        elif not self._head.runs:
            self._head.start(HEAD_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, as every refusal is written, and close."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # it was answered before
            self.transport.close()
            return
        answer = problem({}, status=400, code="bad_request", detail=msg)
        answer.headers["Connection"] = "close"
        security_headers.add_to(answer.headers, scheme=self.scheme)
        for event in (
            h11.Response(status_code=400, headers=answer.raw_headers, reason=b"Bad Request"),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def pause_writing(self) -> None:
        """The buffers are full."""
        super().pause_writing()
        self._stall.start(self._stall_seconds)

    def resume_writing(self) -> None:
        """The client has taken some."""
        self._stall.stop()
        super().resume_writing()

    def shutdown(self) -> None:
        """The server stops once the answers are sent."""
        super().shutdown()
        self._stall_seconds = LAST_STALL_SECONDS
        if self._stall.runs:
            self._stall.start(self._stall_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._head.stop()
        self._stall.stop()
        super().connection_lost(exc)


class _Limit:
    """Cuts a connection when its time is over."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop = loop
        self._transport = transport
        self._timer: asyncio.TimerHandle | None = None

    @property
    def runs(self) -> bool:
        return self._timer is not None

    def start(self, seconds: float) -> None:
        self.stop()
        self._timer = self._loop.call_later(seconds, self._transport.abort)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
