"""One client's connection: HTTP/1.1, strictly, and no longer than the client does its part.

What comes in many small pieces costs more to read than to send: after some of them a connection
rests, while others have their turn.
"""

import asyncio
from typing import Any

import h11
from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from api import security_headers
from api.errors import problem

# Bytes of a request's first line and headers.
MAX_HEAD_BYTES = 1 << 16
# For a client to send them.
HEAD_SECONDS = 30.0
# For a client to take some of what it is sent, once the buffers are full; when the server stops.
STALL_SECONDS = 30.0
LAST_STALL_SECONDS = 1.0
# Pieces that are read between two rests: of a body those below a size, of a page's talk all frames.
PIECES = 64
SMALL_BYTES = 1 << 10
REST_SECONDS = 0.02
# Of a page's talk, read at once: some eighty frames, if they are empty.
PORTION_BYTES = 1 << 9


class _Requests(h11.Connection):
    """Reads requests, each of which ends where everybody between sees it end.

    Of bodies it reads as many small pieces as are left to it.
    """

    pieces_left = PIECES

    def next_event(self) -> Any:
        """What comes next; one whose length is told in two ways is no request."""
        if self.pieces_left == 0:
            return h11.NEED_DATA
        event = super().next_event()
        if isinstance(event, h11.Data) and len(event.data) < SMALL_BYTES:
            self.pieces_left -= 1
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if {b"content-length", b"transfer-encoding"} <= names:
                raise h11.RemoteProtocolError("Content-Length beside Transfer-Encoding")
        return event


class _Flow(FlowControl):
    """Reads on no sooner than after a rest."""

    rests = False

    def resume_reading(self) -> None:
        """Read on, as the application asks."""
        if not self.rests:
            super().resume_reading()


class _Taken(asyncio.Protocol):
    """Is cut when the client takes none of what it is sent."""

    loop: asyncio.AbstractEventLoop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin."""
        super().connection_made(transport)
        self._stall_seconds = STALL_SECONDS
        self._stall = _Limit(self.loop, transport)

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
        super().shutdown()  # type: ignore[misc]  # uvicorn's protocols have it
        self._stall_seconds = LAST_STALL_SECONDS
        if self._stall.runs:
            self._stall.start(self._stall_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._stall.stop()
        super().connection_lost(exc)


class Connection(_Taken, H11Protocol):
    """Uvicorn's connection, cut when a request's head does not come or an answer is not taken.

    So nobody holds a connection, and what was written for it, by doing nothing.
    """

    conn: _Requests
    flow: _Flow

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin; the first head is awaited."""
        super().connection_made(transport)
        self.conn = _Requests(h11.SERVER, MAX_HEAD_BYTES)
        self.flow = _Flow(transport)
        self._head = _Limit(self.loop, transport)
        self._head.start(HEAD_SECONDS)

    def handle_events(self) -> None:
        """Read what has come, some small pieces at a time."""
        super().handle_events()
        if self.transport.get_protocol() is not self:
            self._head.stop()  # a WebSocket from here on, which has limits of its own
        elif self._answers():
            self._head.stop()
        elif not self._head.runs:
            self._head.start(HEAD_SECONDS)
        if self.conn.pieces_left == 0 and not self.flow.rests:
            self.flow.pause_reading()
            self.flow.rests = True
            self.loop.call_later(REST_SECONDS, self._go_on)

    def _answers(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _go_on(self) -> None:
        if self.transport.is_closing():
            return
        if self._answers() and len(self.cycle.body) > HIGH_WATER_LIMIT:
            self.loop.call_later(REST_SECONDS, self._go_on)  # the application does not read on
            return
        self.flow.rests = False
        self.conn.pieces_left = PIECES
        self.flow.resume_reading()
        self.handle_events()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Go on as a WebSocket; what its library takes for no request is refused as such."""
        super().handle_websocket_upgrade(event)
        begun = self.transport.get_protocol()
        if isinstance(begun, PageConnection) and not begun.handshake_initiated:
            self.send_400_response("Invalid WebSocket request received.")

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

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._head.stop()
        super().connection_lost(exc)


class PageConnection(_Taken, WebSocketsSansIOProtocol):
    """Uvicorn's WebSocket, of which no more is read while what was read waits to be heard."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin."""
        super().connection_made(transport)
        self._unread = bytearray()
        self._frames_left = PIECES
        self._rests = False

    def data_received(self, data: bytes) -> None:
        """Take what has come: first the request, whole."""
        if not self.handshake_initiated:
            super().data_received(data)
            return
        self._unread += data
        self._read()

    def handle_events(self) -> None:
        """Pass on the frames that were read."""
        self._frames_left -= len(self.conn.events)
        super().handle_events()
        if len(self.frames) > PIECES:  # browsers send a message whole, or in a few large pieces
            self.transport.abort()

    async def receive(self) -> ASGIReceiveEvent:
        """The next message; after the last one that was read, more is."""
        message = await super().receive()
        self._read()
        return message

    def _read(self) -> None:
        """Read one portion after the other, until there is a message or it is time to rest."""
        while self._unread and self._frames_left > 0 and not self._is_full():
            portion = bytes(self._unread[:PORTION_BYTES])
            del self._unread[:PORTION_BYTES]
            super().data_received(portion)
        if self._frames_left <= 0 and not self._rests:
            self._rests = True
            self.loop.call_later(REST_SECONDS, self._go_on)
        if self._unread or self._rests:
            self.transport.pause_reading()

    def _is_full(self) -> bool:
        return self.read_paused or self.transport.is_closing()

    def _go_on(self) -> None:
        self._rests = False
        self._frames_left = PIECES
        if not self._is_full():
            self.transport.resume_reading()
            self._read()


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
