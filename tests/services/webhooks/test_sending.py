"""One attempt: to the checked address, within its time, whatever the receiver does."""

import asyncio
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path

import pytest

from services.webhooks.reach import Reach
from services.webhooks.sending import Outcome, Sender

HERE = Reach([ip_network("127.0.0.0/8")])


def send(url: str, *, reach: Reach = HERE, seconds: float = 60.0, **options) -> Outcome:
    sender = Sender(reach, seconds=seconds, **options)
    return asyncio.run(sender.send(url, {"webhook-id": "msg_1"}, b'{"a":1}'))


def test_a_message_arrives_as_a_post_of_json(receive) -> None:
    receiver = receive(204)
    assert send(receiver.url) == Outcome(204)
    (request,) = receiver.received
    assert request.path == "/hook?token=s3cr3t"
    assert request.body == b'{"a":1}'
    assert request.headers["webhook-id"] == "msg_1"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Host"] == f"127.0.0.1:{receiver.port}"


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
def test_an_answer_that_is_no_success_is_a_fault(receive, status: int) -> None:
    assert send(receive(status).url) == Outcome(status, f"answered {status}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(receive, status: int) -> None:
    private = receive(204)
    outcome = send(receive(status, Location=private.url).url)
    assert outcome == Outcome(status, f"answered {status}: redirects are not followed")
    assert not private.received


def test_this_machine_is_not_called_unless_the_operator_allows_it(receive) -> None:
    receiver = receive(204)
    for host in ("127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"):
        outcome = send(f"http://{host}:{receiver.port}/", reach=Reach())
        assert outcome.status is None
        assert "leads into a network that may not be called" in str(outcome.fault)
        # What a name means inside is not told.
        assert host == "[::ffff:127.0.0.1]" or "127.0" not in str(outcome.fault).removeprefix(host)
    assert not receiver.received


def test_a_name_that_means_something_else_at_the_second_look_gains_nothing(receive) -> None:
    inside = receive(204)
    answers = [["127.0.0.1"], ["127.0.0.2"], ["127.0.0.2"]]
    looked_up: list[str] = []

    def rebind(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return answers[len(looked_up) - 1]

    only_first = Reach([ip_network("127.0.0.1/32")])
    url = f"http://rebinding.example:{inside.port}/"
    # Looked up once: what was checked is what is called.
    assert send(url, reach=only_first, look_up=rebind) == Outcome(204)
    assert looked_up == ["rebinding.example"]
    assert inside.received[0].headers["Host"] == f"rebinding.example:{inside.port}"
    # At the next attempt it is checked anew.
    assert "may not be called" in str(send(url, reach=only_first, look_up=rebind).fault)
    assert len(inside.received) == 1


def test_of_several_addresses_only_those_within_reach_are_called(receive) -> None:
    receiver = receive(204)
    found = ["169.254.169.254", "10.0.0.1", "127.0.0.1"]
    outcome = send(f"http://mixed.example:{receiver.port}/", look_up=lambda *_: found)
    assert outcome == Outcome(204)


def test_the_next_address_is_called_if_one_does_not_answer(receive) -> None:
    receiver = receive(204)
    found = ["127.0.0.9", "127.0.0.1"]  # nothing listens on the first
    outcome = send(f"http://two.example:{receiver.port}/", look_up=lambda *_: found)
    assert outcome == Outcome(204)


@pytest.mark.parametrize("name", ["nowhere.invalid", "a..b", "a" * 64 + ".example"])
def test_a_name_that_is_none_is_a_fault_in_words(name: str) -> None:
    fault = send(f"http://{name}/").fault
    assert str(fault).startswith(f"{name} cannot be resolved, or leads into a network that may not")


def test_which_names_there_are_inside_is_not_told() -> None:
    def look_up(host: str, port: int) -> list[str]:
        if host == "vault":
            return ["10.0.0.7"]
        raise socket.gaierror("no such name")

    inside, nowhere = (
        send(f"http://{host}/", reach=Reach(), look_up=look_up) for host in ("vault", "cellar")
    )
    assert str(inside.fault).removeprefix("vault") == str(nowhere.fault).removeprefix("cellar")


def test_a_port_where_nothing_listens_is_a_fault_in_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        outcome = send(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert outcome.status is None
    assert str(outcome.fault).startswith("no connection")


def _drip(handler: BaseHTTPRequestHandler) -> None:
    for sign in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 100:
        handler.wfile.write(bytes([sign]))
        time.sleep(0.05)


def _never(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(60)


@pytest.mark.parametrize("how", [_drip, _never])
def test_an_answer_that_takes_too_long_is_given_up(receive, how) -> None:
    started = time.monotonic()
    assert send(receive(how).url, seconds=0.5) == Outcome(None, "no answer within 0.5 s")
    assert time.monotonic() - started < 30


def test_a_look_up_that_hangs_is_given_up() -> None:
    released = threading.Event()
    started = time.monotonic()
    outcome = send("http://slow.example/", seconds=0.3, look_up=lambda *_: [str(released.wait(60))])
    assert outcome == Outcome(None, "no answer within 0.3 s")
    assert time.monotonic() - started < 30
    released.set()


def test_a_server_that_takes_no_request_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent:
        outcome = send(f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.3)
    assert outcome == Outcome(None, "no answer within 0.3 s")


def test_of_a_huge_answer_only_the_beginning_is_read(receive) -> None:
    written = 0

    def flood(handler: BaseHTTPRequestHandler) -> None:
        nonlocal written
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(2000):
                written += handler.wfile.write(bytes(1 << 16))
        except OSError:
            pass

    assert send(receive(flood).url) == Outcome(200)
    assert written < 50 << 20


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00" * 200_000, b"HTTP/1.1 two hundred\r\n\r\n", b""]
)
def test_what_is_no_http_is_a_fault(receive, answer: bytes) -> None:
    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(answer)
        handler.close_connection = True

    outcome = send(receive(write).url)
    assert outcome.status is None
    assert str(outcome.fault).startswith("the connection ended before an answer")


def test_proxies_of_the_environment_are_not_asked(receive, monkeypatch) -> None:
    proxy, receiver = receive(500), receive(204)
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert send(receiver.url) == Outcome(204)
    assert not proxy.received


@pytest.fixture
def tls(receive, tmp_path: Path) -> Callable[[str], int]:
    """A receiver behind TLS with a certificate for a name; gives its port."""

    def start(name: str) -> int:
        command = [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
        ]
        subprocess.run(command, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
        receiver = receive(204)
        receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
        return int(receiver.port)

    return start


def test_tls_is_checked_against_the_name_and_not_the_address(tls, tmp_path, monkeypatch) -> None:
    port = tls("hooks.example")
    here = {"look_up": lambda *_: ["127.0.0.1"]}
    untrusted = send(f"https://hooks.example:{port}/", **here)
    assert untrusted.fault == "TLS failed: CERTIFICATE_VERIFY_FAILED"
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    assert send(f"https://hooks.example:{port}/", **here) == Outcome(204)
    other = send(f"https://other.example:{port}/", **here)
    assert other.fault == "TLS failed: CERTIFICATE_VERIFY_FAILED"
