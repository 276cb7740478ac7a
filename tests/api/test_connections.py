"""The connection beneath the requests: what is no HTTP/1.1 is refused, and silence ends."""

import json
import socket
import time
from contextlib import suppress

import httpx
import pytest

from api import connections
from tests.api.test_studio import client_id, talk


def raw(live, request: bytes, *, seconds: float = 5.0) -> bytes:
    """All that the server answers to these bytes until it closes or falls silent."""
    address = ("127.0.0.1", int(live.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=seconds) as client:
        client.sendall(request)
        answer = b""
        try:
            while part := client.recv(65536):
                answer += part
        except TimeoutError:
            answer += b"(open)"
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
    with socket.create_connection(address, timeout=10) as client:
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
    answers = raw(live, head * 2, seconds=1)
    assert answers.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nA"])
def test_a_head_that_does_not_come_to_its_end_is_not_waited_for(
    live, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    began = time.monotonic()
    assert raw(live, begun) == b""
    assert time.monotonic() - began < 2


def test_a_head_in_small_pieces_is_waited_for_no_longer(
    live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    address = ("127.0.0.1", int(live.url.rpartition(":")[2]))
    with socket.create_connection(address) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\n")
        began = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began < 5:
                client.sendall(b"A: b\r\n")
                time.sleep(0.05)
    assert 0.4 < time.monotonic() - began < 2


def test_a_body_that_comes_slowly_is_waited_for(live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    address = ("127.0.0.1", int(live.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=5) as client:
        client.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 2\r\n\r\n{"
        )
        time.sleep(0.8)
        client.sendall(b"}")
        assert client.recv(65536).startswith(b"HTTP/1.1 422 ")


def test_the_connection_of_an_open_page_outlives_the_time_for_a_head(
    live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    page = client_id(httpx.get(f"{live.url}/", headers={"Accept": "text/html"}))
    with talk(live.url, page, Origin=live.url) as connection:
        time.sleep(1)
        connection.send('420["event",{}]')
        while not str(connection.recv(5)).startswith("430"):
            pass
