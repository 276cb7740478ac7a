"""The connection beneath the requests: what is no HTTP/1.1 is refused, and silence ends.

Nobody is served later, and no memory fills, because others send much that is small.
"""

import asyncio
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import numpy as np
import pytest
from nicegui import Client
from PIL import Image

from api import connections
from api.connections import PageConnection
from tests.api.conftest import PHOTO, png
from tests.api.test_studio import SECONDS, client_id, talk
from tests.waiting import PATIENCE_SECONDS, wait_until

CHUNKED = b"Host: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = (
    b"Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
# A browser's frames, masked with zeros.
EMPTY_PONG = b"\x8a\x80\0\0\0\0"
EMPTY_TEXT_BEGUN = b"\1\x80\0\0\0\0"
EMPTY_FRAGMENT = b"\0\x80\0\0\0\0"
THREE = b"\x81\x81\0\0\0\0" + b"3"


def raw(live, request: bytes) -> bytes:
    """All that the server answers to these bytes until it closes or falls silent."""
    live.server.config.timeout_keep_alive = 600  # it closes for another reason, or not so soon
    address = ("127.0.0.1", int(live.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=SECONDS) as client:
        client.sendall(request)
        answer = b""
        try:
            while part := client.recv(65536):
                answer += part
        except TimeoutError:
            answer += b"(open)"
        except ConnectionResetError:
            pass
        return answer


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET /healthz HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="two hosts"),
        pytest.param(b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", id="a space in the path"),
        pytest.param(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", id="a path that is not ASCII"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", id="a space in a name"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n", id="NUL in a value"),
        pytest.param(
            b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            id="two lengths",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
            id="a length below 0",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            id="an encoding",
        ),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), id="TLS"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 70_000, id="a head without end"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 12_000, id="headers without end"
        ),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(live, request_: bytes) -> None:
    answer = raw(live, request_)
    assert answer.startswith(b"HTTP/1.1 400 ")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert {
        b"content-type: application/problem+json",
        b"connection: close",
        b"x-content-type-options: nosniff",
        b"cache-control: no-store",
    } <= set(head.split(b"\r\n"))
    assert json.loads(body)["code"] == "bad_request"
    assert httpx.get(f"{live.url}/healthz").status_code == 200


def test_what_is_no_body_behind_an_early_answer_ends_the_connection(live, caplog) -> None:
    address = ("127.0.0.1", int(live.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as client:
        client.sendall(
            b"POST /v1/nothing HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert client.recv(65536).startswith(b"HTTP/1.1 403 ")  # another host
        with suppress(ConnectionError):
            client.sendall(b"zz\r\n")
            while client.recv(65536):
                pass
    assert not [record for record in caplog.records if record.exc_info]


def test_a_request_whose_length_is_told_in_two_ways_hides_no_other_one(live) -> None:
    head = b"POST /v1/session HTTP/1.1\r\nHost: a\r\nContent-Length: 49\r\n"
    hidden = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = raw(live, head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert not answer.endswith(b"(open)")


def test_an_upgrade_to_another_protocol_is_declined(live) -> None:
    head = (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    )
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answers = raw(live, head * 2 + last)
    assert answers.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nA"])
def test_a_head_that_does_not_come_to_its_end_is_not_waited_for(
    live, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    assert raw(live, begun) == b""


def test_a_head_in_small_pieces_is_waited_for_no_longer(
    live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    address = ("127.0.0.1", int(live.url.rpartition(":")[2]))
    began = time.monotonic()
    with socket.create_connection(address) as client, suppress(ConnectionError):
        client.sendall(b"GET /healthz HTTP/1.1\r\n")
        while time.monotonic() - began < 60:
            client.sendall(b"A: b\r\n")
            time.sleep(0.05)
    assert 0.4 < time.monotonic() - began < 30


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[connections._Limit]:
    """The limits of the connections that are made from now on."""
    made: list[connections._Limit] = []

    class Known(connections._Limit):
        def __init__(self, *of: Any) -> None:
            super().__init__(*of)
            made.append(self)

    monkeypatch.setattr(connections, "_Limit", Known)
    return made


def test_a_body_that_comes_slowly_is_waited_for(live, limits: list[connections._Limit]) -> None:
    with connect(live) as client:
        client.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 2\r\n\r\n{"
        )
        wait_until(lambda: limits and not any(limit.runs for limit in limits))
        client.sendall(b"}")
        assert client.recv(65536).startswith(b"HTTP/1.1 422 ")


def test_the_connection_of_an_open_page_outlives_the_time_for_a_head(
    live, limits: list[connections._Limit]
) -> None:
    page = client_id(httpx.get(f"{live.url}/", headers={"Accept": "text/html"}))
    with talk(live.url, page, Origin=live.url) as connection:
        wait_until(lambda: not any(limit.runs for limit in limits))
        connection.send('420["event",{}]')
        while not str(connection.recv(SECONDS)).startswith("430"):
            pass


def connect(live) -> socket.socket:
    address = ("127.0.0.1", int(live.url.rpartition(":")[2]))
    return socket.create_connection(address, timeout=PATIENCE_SECONDS)


def open_page(live) -> tuple[socket.socket, str]:
    """A page's connection of which nothing is read by itself, and the page's id."""
    page = client_id(httpx.get(f"{live.url}/", headers={"Accept": "text/html"}))
    query = (
        f"EIO=4&transport=websocket&client_id={page}&implicit_handshake=true"
        "&document_id=d&tab_id=t&next_message_id=0"
    ).encode()
    client = connect(live)
    client.sendall(b"GET /_nicegui_ws/socket.io/?" + query + b" HTTP/1.1\r\n" + UPGRADE + b"\r\n")
    assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
    client.sendall(b"\x81\x82\0\0\0\0" + b"40")
    return client, page


def pages_of(live) -> list[PageConnection]:
    all_there_are = tuple(live.server.server_state.connections)  # at once: it is another thread's
    return [each for each in all_there_are if type(each) is PageConnection]


@pytest.mark.parametrize(
    ("path", "header"),
    [
        pytest.param(b"/", b"Transfer-Encoding: chunked\r\n", id="a body in chunks"),
        pytest.param(b"/", b"Content-Length: 3\r\n", id="a body"),
        pytest.param(b"/", b"A: b\r\n" * 300, id="many headers"),
        pytest.param(b"/", b"A: " + b"x" * 20_000 + b"\r\n", id="a long header"),
        pytest.param(b"/" + b"x" * 20_000, b"", id="a long path"),
    ],
)
def test_what_no_websocket_begins_with_is_refused(live, path: bytes, header: bytes) -> None:
    answer = raw(live, b"GET " + path + b" HTTP/1.1\r\n" + UPGRADE + header + b"\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == "bad_request", "and the connection is closed"
    wait_until(lambda: not pages_of(live))


@contextmanager
def flooding(client: socket.socket, small: bytes) -> Iterator[None]:
    """Send what is small, again and again, as fast as it is taken."""

    def send() -> None:
        with suppress(OSError):
            while True:
                client.sendall(small * 10_000)

    thread = threading.Thread(target=send)
    thread.start()
    yield
    client.shutdown(socket.SHUT_RDWR)
    thread.join()
    client.close()


def longest(live) -> float:
    """Seconds that the slowest of some requests takes."""
    slowest = 0.0
    for _ in range(5):
        began = time.monotonic()
        assert httpx.get(f"{live.url}/healthz", timeout=30).status_code == 200
        slowest = max(slowest, time.monotonic() - began)
    return slowest


@pytest.mark.parametrize("line", [b"GET /healthz", b"POST /v1/session"])
def test_small_chunks_without_end_hold_up_nobody(live, line: bytes) -> None:
    with connect(live) as first, connect(live) as second:
        for client in (first, second):
            client.sendall(line + b" HTTP/1.1\r\n" + CHUNKED)
        with flooding(first, b"1\r\nx\r\n"), flooding(second, b"1\r\nx\r\n"):
            assert longest(live) < 10  # more than twenty while all that came was read at once


def test_small_chunks_that_no_application_reads_are_not_read_either(
    live, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()

    async def application(*_: object) -> None:
        while not done.is_set():
            await asyncio.sleep(0.01)

    monkeypatch.setattr(live.server.config, "loaded_app", application)
    with connect(live) as client:
        client.sendall(b"POST / HTTP/1.1\r\n" + CHUNKED)
        client.settimeout(5)
        with suppress(TimeoutError):  # it is not read any more
            for _ in range(8):  # each time as much as is read until the next rest
                client.sendall((b"3ff\r\n" + b"x" * 1023 + b"\r\n") * connections.PIECES)
                time.sleep(2 * connections.REST_SECONDS)
        (connection,) = live.server.server_state.connections
        wait_until(lambda: len(connection.cycle.body) > 1 << 16)
        time.sleep(2 * connections.REST_SECONDS)
        held = len(connection.cycle.body)
    done.set()
    assert held < 1 << 18  # all of it while rests were not minded


@pytest.mark.parametrize("frame", [EMPTY_PONG, THREE])
def test_small_frames_without_end_hold_up_nobody_and_fill_nothing(live, frame: bytes) -> None:
    (first, _), (second, _) = open_page(live), open_page(live)
    with flooding(first, frame), flooding(second, frame):
        assert longest(live) < 10
        assert max(each.queue.qsize() for each in pages_of(live)) < 200


def test_a_message_in_pieces_without_end_ends_the_connection(live) -> None:
    client, _ = open_page(live)
    with client, suppress(ConnectionError):
        client.sendall(EMPTY_TEXT_BEGUN + EMPTY_FRAGMENT * 10_000)
        while client.recv(65536):
            pass
    wait_until(lambda: not pages_of(live))


def test_what_comes_in_small_chunks_comes_whole(live) -> None:
    form = httpx.Request("POST", live.url, files={"file": ("a.png", png())})
    whole = form.read()
    pieces = (whole[start : start + 99] for start in range(0, len(whole), 99))
    kind = {"Content-Type": form.headers["Content-Type"]}
    answer = httpx.post(f"{live.url}/v1/images", content=pieces, headers=kind)
    assert answer.status_code == 201
    kept = httpx.get(f"{live.url}/v1/images/{answer.json()['id']}/content").content
    assert np.array_equal(Image.open(io.BytesIO(kept)), PHOTO)


def test_pages_send_nothing_compressed(live) -> None:
    page = client_id(httpx.get(f"{live.url}/", headers={"Accept": "text/html"}))
    with talk(live.url, page, Origin=live.url) as connection:
        assert "permessage-deflate" in connection.request.headers["Sec-WebSocket-Extensions"]
        assert connection.protocol.extensions == []


def test_a_page_that_takes_nothing_is_cut(live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.3)
    client, page = open_page(live)
    with client:
        wait_until(lambda: Client.instances[page].has_socket_connection)
        Client.instances[page].run_javascript("/" * 30_000_000)
        wait_until(lambda: not pages_of(live), seconds=SECONDS)
