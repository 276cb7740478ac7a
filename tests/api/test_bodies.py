"""Bodies that are too large, from a real server: refused before they are parsed or even sent."""

import asyncio
import errno
import io
import itertools
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.datastructures import UploadFile

from api import bodies, runtime
from api.bodies import CHECKED_BYTES
from services.blobs import Blobs
from services.installation import Installation
from tests.api.conftest import png
from tests.clock import Clock
from tests.waiting import PATIENCE_SECONDS, wait_until

MEBIBYTE = 1 << 20


def raw(url: str, head: str, body: bytes = b"") -> bytes:
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=20) as connection:  # the limits are above it
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n" + body)
        answer = b""
        while b"}" not in answer and (part := connection.recv(65536)):
            answer += part
        return answer


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/v1/jobs", 2 * MEBIBYTE),
        ("/v1/images", 27 * MEBIBYTE),
        ("/v1/losses/import", 27 * MEBIBYTE),
        ("/v1/images/synthesize", 2 * MEBIBYTE),
        ("/v1/jobs", 10**18),
    ],
)
def test_a_declared_size_is_refused_before_the_body_is_sent(live, path: str, size: int) -> None:
    head = (
        f"POST {path} HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"
        f"Content-Length: {size}\n"
    )
    answer = raw(live.url, head)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer
    assert b'"code": "too_large"' in answer


def test_a_body_of_undeclared_size_is_cut_off(live, assert_problem) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(60):
            sent += MEBIBYTE
            yield bytes(MEBIBYTE)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = httpx.post(f"{live.url}/v1/images", content=endless(), headers=headers)
    assert_problem(answer, 413, "too_large")
    small = httpx.post(
        f"{live.url}/v1/jobs",
        content=iter([bytes(MEBIBYTE), bytes(MEBIBYTE)]),
        headers={"Content-Type": "application/json"},
    )
    assert_problem(small, 413, "too_large")


@pytest.mark.parametrize("path", ["/v1/session", "/v1/jobs"])
@pytest.mark.parametrize("begun", [b"", b"{"])
def test_a_body_that_does_not_come_is_not_waited_for(
    live, monkeypatch: pytest.MonkeyPatch, path: str, begun: bytes
) -> None:
    monkeypatch.setattr(bodies, "SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(bodies, "LOGIN_SECONDS", 0.3)
    head = f"POST {path} HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"
    answer = raw(live.url, f"{head}Content-Length: 9\n", begun)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_login_in_small_pieces_is_waited_for_no_longer(
    live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "LOGIN_SECONDS", 0.5)

    def slowly() -> Iterator[bytes]:
        for _ in range(100):
            yield b" "
            time.sleep(0.05)

    began = time.monotonic()
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{live.url}/v1/session", content=slowly(), headers=headers)
    assert answer.status_code == 408
    assert time.monotonic() - began > 0.4


def test_a_large_file_within_the_cap_is_taken(live) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, "PNG", compress_level=0)
    assert content.tell() > 11 * MEBIBYTE
    answer = httpx.post(
        f"{live.url}/v1/images", files={"file": ("noise.png", content.getvalue())}, timeout=60
    )
    assert answer.status_code == 201


def test_what_is_no_http_is_told_so(live) -> None:
    assert b" 400 " in raw(live.url, "NOT HTTP AT ALL\n")
    assert httpx.get(f"{live.url}/healthz").status_code == 200


def test_many_uploads_of_one_picture_are_one_image(live, installation: Installation) -> None:
    content = io.BytesIO()
    Image.fromarray(np.arange(96 * 96 * 3, dtype=np.uint8).reshape(96, 96, 3)).save(content, "PNG")

    async def upload_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=live.url, timeout=60) as http:
            files = {"file": ("x.png", content.getvalue())}
            return await asyncio.gather(*(http.post("/v1/images", files=files) for _ in range(50)))

    answers = asyncio.run(upload_all())
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(installation.blobs.keys("images")) == 1


def test_a_form_has_no_field_that_nobody_reads(client, assert_problem) -> None:
    files = {"file": ("x.png", b"anything"), "picture": (None, "y"), "alt": (None, "z")}
    problem = assert_problem(client.post("/v1/images", files=files), 422, "bad_input")
    assert problem["errors"] == [
        {"pointer": "/picture", "detail": "is not a known field"},
        {"pointer": "/alt", "detail": "is not a known field"},
    ]


FORMS = ("/v1/images", "/v1/losses/import", "/v1/models/import", "/v1/models/model_0/restore")


@pytest.mark.parametrize("path", [*FORMS, "/v1/jobs"])
def test_who_lacks_the_scope_is_told_so_before_a_body_comes(live, make_key, path: str) -> None:
    make_key("admin")
    kind = "application/json" if path == "/v1/jobs" else "multipart/form-data; boundary=x"
    head = (
        f"POST {path} HTTP/1.1\nHost: localhost\nContent-Type: {kind}\nContent-Length: 9000\n"
        f"Authorization: {make_key('read')['Authorization']}\n"
    )
    assert raw(live.url, head).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("path", FORMS)
def test_a_file_that_the_disk_has_no_room_for_does_not_come(
    live, installation: Installation, path: str
) -> None:
    installation.blobs._floor = 1 << 60
    head = (
        f"POST {path} HTTP/1.1\nHost: localhost\nContent-Length: 9000\n"
        "Content-Type: multipart/form-data; boundary=x\n"
    )
    answer = raw(live.url, head)
    assert answer.startswith(b"HTTP/1.1 507 ")
    assert b'"code": "disk_full"' in answer


def test_a_disk_that_others_fill_while_a_file_comes_is_told(
    live, installation: Installation, monkeypatch: pytest.MonkeyPatch, assert_problem
) -> None:
    installation.blobs._floor = 1
    free = itertools.chain([1 << 60] * 3, itertools.repeat(0))
    monkeypatch.setattr(Blobs, "free_bytes", lambda _: next(free))
    came = 0

    def coming() -> Iterator[bytes]:
        nonlocal came
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(8 * CHECKED_BYTES // MEBIBYTE):
            came += MEBIBYTE
            yield bytes(MEBIBYTE)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = httpx.post(f"{live.url}/v1/images", content=coming(), headers=headers)
    assert "must stay free" in str(assert_problem(answer, 507, "disk_full")["detail"])
    assert came >= 3 * CHECKED_BYTES


def test_a_temporary_folder_that_is_full_is_told(
    client, monkeypatch: pytest.MonkeyPatch, assert_problem
) -> None:
    async def refuse(self: UploadFile, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(UploadFile, "write", refuse)
    answer = client.post("/v1/images", files={"file": ("x.png", b"anything")})
    assert "has no room" in str(assert_problem(answer, 507, "disk_full")["detail"])


class Watch(Clock):
    """A clock that counts how often it is looked at."""

    looks = 0

    def monotonic(self) -> float:
        self.looks += 1
        return super().monotonic()


@pytest.mark.parametrize(("size", "status"), [(1, b"408"), (10_000, b"422")])
def test_a_form_has_to_come_at_some_pace_for_however_long(
    live, monkeypatch: pytest.MonkeyPatch, size: int, status: bytes
) -> None:
    watch = Watch()
    monkeypatch.setattr(bodies, "time", watch)
    monkeypatch.setattr(bodies, "SILENCE_SECONDS", 600.0)
    monkeypatch.setattr(bodies, "SLOWEST", 40.0)
    start = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    pieces = [start, bytes(size), bytes(size)]
    end = b"\r\n--x--\r\n"
    length = sum(map(len, pieces)) + len(end)
    head = (
        "POST /v1/images HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; "
        f"boundary=x\r\nContent-Length: {length}\r\n\r\n"
    )
    address = ("127.0.0.1", int(live.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(head.encode())
        for looks, piece in zip((1, 3, 5), pieces, strict=True):
            wait_until(lambda looks=looks: watch.looks >= looks)  # it waits for the piece
            watch.seconds += 250
            connection.sendall(piece)
        if status != b"408":
            wait_until(lambda: watch.looks >= 7)
            connection.sendall(end)
        assert connection.recv(65536).startswith(b"HTTP/1.1 " + status)


def test_who_announces_much_and_sends_little_keeps_nobody_out(live, make_key) -> None:
    make_key("admin")
    size = bodies.largest_form(live.server._runtime.installation.settings)
    with ExitStack() as stack:
        for owner in ("bob", "carol"):
            key = make_key("write", owner=owner)["Authorization"]
            for _ in range(runtime.FORMS_OF_OWNER):
                head = (
                    f"POST /v1/models/import HTTP/1.1\nHost: localhost\nAuthorization: {key}\n"
                    f"Content-Type: multipart/form-data; boundary=b\nContent-Length: {size}\n\n"
                )
                address = ("127.0.0.1", int(live.url.rpartition(":")[2]))
                connection = stack.enter_context(socket.create_connection(address, timeout=60))
                connection.sendall(head.replace("\n", "\r\n").encode() + b"--b\r\n")
        forms = live.server._runtime.forms
        wait_until(lambda: forms._taken == {"bob": 20, "carol": 20}, told=lambda: forms._taken)
        for owner in ("alice", "bob"):
            headers = make_key("write", owner=owner)
            files = {"file": ("x.png", png())}
            answer = httpx.post(f"{live.url}/v1/images", files=files, headers=headers)
            assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("declared", [True, False])
def test_forms_have_so_much_room_and_no_more(client, assert_problem, declared: bool) -> None:
    forms = client.app.state.runtime.forms
    room = runtime.FORMS_OF_OWNER * bodies.largest_form(
        client.app.state.runtime.installation.settings
    )
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\r\n--x--\r\n'

    def send() -> httpx.Response:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        content = body if declared else iter([body])
        return client.post("/v1/images", content=content, headers=headers)

    with forms.taken_by("local", room - len(body) + 1):
        refused = send()
        assert_problem(refused, 503, "unavailable")
        assert refused.headers["retry-after"] == "5"
    for _ in range(2):  # what it took is given back
        with forms.taken_by("local", room - len(body)), forms.taken_by("anna", room):
            assert_problem(send(), 422, "bad_image")


@pytest.mark.parametrize("task", ["[" * 65 + "]" * 65, "[" + "1," * 20_000 + "1]"])
def test_json_within_a_form_has_the_same_limits(client, assert_problem, task: str) -> None:
    files = {"file": ("x.pth", b"anything"), "task": (None, task)}
    assert_problem(client.post("/v1/losses/import", files=files), 400, "bad_request")
