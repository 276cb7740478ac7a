"""The connection of an open page: whose it is, and what is heard of what its script says.

It is a WebSocket. Beneath it lie Engine.IO and Socket.IO, which take whatever comes: parts of a
message without end, and packets that they fail over, with a traceback each. So they hear nothing
but what a page's script does say; a connection that says anything else ends.
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from inspect import isawaitable
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from nicegui import Client, background_tasks, core
from pydantic import BaseModel, Field, ValidationError
from starlette.types import Message, Receive, Scope, Send

from services.access import Caller

PATH = "/_nicegui_ws/socket.io/"
# Of a page's script: sliders that are dragged say ten things a second.
MESSAGES_PER_SECOND = 50
# May come at once, when a page opens or a line was down.
BURST = 500
# A long message counts as several.
CHARACTERS_A_MESSAGE = 10_000
# What it says: answers to pings, at first that it is there, and these events.
_PONG, _OPEN, _EVENT = "3", "40", "42"
_EVENTS = ("handshake", "event", "javascript_response", "ack", "log")
# Connections of a key; the page of each takes more than half a megabyte.
MOST_OPEN = 50
# What an older one is told, in the place where NiceGUI says that it reconnects: it shall not.
_MAKES_ROOM = """document.getElementById("popup").textContent =
  "Too many pages are open: this one was closed. Reload it to go on."
"""
_DISCONNECT = "41"

# By key, the ids of their pages and the ways to them, oldest first.
_open: defaultdict[str | None, list[tuple[str, Send]]] = defaultdict(list)

_log = logging.getLogger(__name__)


def hold_to_their_pages() -> None:
    """Hear of each connection what is said for the page that it was let in for, nothing else.

    A message names its page; NiceGUI believes it.
    """
    heard = core.sio.handlers["/"]
    for name in ("handshake", "event", "javascript_response", "ack"):
        heard[name] = _of_its_own_page(heard[name])
    heard["log"] = _hear_nothing  # what a browser says is none of our log's business
    # Each wrote its lines a second time, beside our log.
    for logger in (core.sio.logger, core.sio.eio.logger):
        logger.handlers.clear()


def is_of_its_page(scope: Scope) -> bool:
    """Whether a page's script asks, for whom the page was shown to; a lost page has nobody."""
    given = parse_qs(scope["query_string"].decode("latin-1"))
    try:
        opening = _Opening.model_validate({name: values[0] for name, values in given.items()})
    except ValidationError:
        return False
    client = Client.instances.get(opening.client_id)
    if client is None:
        return True
    shown_to: Caller = client.request.state.caller
    asking: Caller = scope["state"]["caller"]
    return (shown_to.key_id, shown_to.session_id) == (asking.key_id, asking.session_id)


@contextmanager
def making_room(scope: Scope, send: Send) -> Iterator[None]:
    """While a connection is open: beyond MOST_OPEN of its key, the oldest ends with its page."""
    (page_id,) = parse_qs(scope["query_string"].decode("latin-1"))["client_id"][:1]
    own = (page_id, send)
    of_key = _open[scope["state"]["caller"].key_id]
    of_key.append(own)
    if len(of_key) > MOST_OPEN:
        oldest, tell = of_key.pop(0)
        page = Client.instances.get(oldest)
        if page is not None and all(each != oldest for each, _ in of_key):
            forget(page)
        background_tasks.create(_end(tell), name=f"end {oldest}")
    try:
        yield
    finally:
        if own in of_key:
            of_key.remove(own)


def forget(page: Client) -> None:
    """Delete a page at once, and not again when it has not come back."""
    for document in [*page._delete_tasks]:
        page._cancel_delete_task(document)
    page.delete()


async def _end(send: Send) -> None:
    said = f"{_EVENT}{json.dumps(['run_javascript', {'code': _MAKES_ROOM}])}"
    for message in (
        {"type": "websocket.send", "text": said},
        {"type": "websocket.send", "text": _DISCONNECT},
        {"type": "websocket.close", "code": 1008},
    ):
        with suppress(OSError, RuntimeError):  # it has ended, or not begun
            await send(message)


_Id = Annotated[str, Field(max_length=64)]


class _Opening(BaseModel):
    """The query by which a page's script opens a connection: always a new one, by WebSocket."""

    engine: Literal["4"] = Field(alias="EIO")
    transport: Literal["websocket"]
    sid: None = None
    j: None = None
    client_id: _Id
    tab_id: _Id
    document_id: _Id
    next_message_id: Annotated[str, Field(pattern="^[0-9]{1,15}$")]


class Hearing:
    """Receives what a page's script says, no faster than it may; ends with what no script says."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_open = False
        self._free_at = 0.0

    async def __call__(self) -> Message:
        """The next message."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            return message
        said = message.get("text") or ""  # nothing is said in bytes
        if not self._is_readable(said):
            _log.info("a page's connection ends: no page says %r", said[:20])
            return {"type": "websocket.disconnect", "code": 1008}
        await self._pace(1 + len(said) // CHARACTERS_A_MESSAGE)
        return message

    def _is_readable(self, said: str) -> bool:
        if said == _OPEN and not self._is_open:
            self._is_open = True
            return True
        return said == _PONG or (self._is_open and _is_event(said))

    async def _pace(self, messages: int) -> None:
        """Wait until as many messages more may be heard; whoever sends them waits as well."""
        now = asyncio.get_running_loop().time()
        began = max(self._free_at, now - BURST / MESSAGES_PER_SECOND)
        self._free_at = began + messages / MESSAGES_PER_SECOND
        await asyncio.sleep(max(0.0, self._free_at - now))


def _is_event(said: str) -> bool:
    """Whether this is what `emit(name, {…})` sends, read as Socket.IO is going to."""
    if not said.startswith(_EVENT):
        return False
    try:
        packet = core.sio.packet_class(encoded_packet=said[1:])
    except ValueError:
        return False
    match packet.data:
        case [str(name), dict()]:
            return packet.namespace is None and name in _EVENTS
    return False


def _of_its_own_page(hear: Callable[..., Any]) -> Callable[..., Any]:
    async def hear_own(connection: str, said: dict[str, Any]) -> Any:
        query = parse_qs(core.sio.get_environ(connection)["QUERY_STRING"])
        if said.get("client_id") not in query["client_id"][:1]:
            return False
        try:
            answer = hear(connection, said)
            return await answer if isawaitable(answer) else answer
        except (AttributeError, LookupError, TypeError, ValueError):  # no page's script says so
            return False

    return hear_own


async def _hear_nothing(_: str, *__: object) -> bool:
    return False
