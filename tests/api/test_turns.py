"""Whose turn it is at the decoders and at the processes that hold torch, over HTTP."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from unittest.mock import Mock

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

import api.routers
from api.runtime import DECODERS, DECODERS_OF_OWNER, DECODERS_WAITING_OF_OWNER, Runtime
from services.turns import Turns
from services.workbench import WAITING_OF_OWNER, Workbench
from tests.api.conftest import Live, png
from tests.waiting import PATIENCE_SECONDS, wait_until

Keys = Callable[..., dict[str, str]]
Problem = Callable[..., dict[str, object]]
SEED = {"kind": "pink-noise", "width": 32, "height": 32}
DISTORTED = '/v1/images/{image}/distorted?task={"kind": "jpeg"}&width=32&height=32'
FILE = {"files": {"file": ("x.safetensors", b"x")}}
PICTURE = {"files": {"file": ("x.png", png())}}
# Of one owner, at each of the runtime's parts.
WAITING = {
    "workbench": WAITING_OF_OWNER,
    "restorers": WAITING_OF_OWNER,
    "decoders": DECODERS_WAITING_OF_OWNER,
}


def runtime(client: TestClient) -> Runtime:
    return client.app.state.runtime  # type: ignore[attr-defined, no-any-return]  # our app


@dataclass
class Occupation:
    """Work of an owner, which lasts until it is told to end: the first, and those after it."""

    first: asyncio.Event
    others: asyncio.Event


@contextmanager
def occupied(
    client: TestClient, bench: Workbench | Turns, owner: str, *, pieces: int
) -> Iterator[Occupation]:
    """The owner has asked for so many pieces of work, of which the first are being done."""
    portal = client.portal
    assert portal is not None

    async def begin() -> tuple[Occupation, list[asyncio.Task[None]]]:
        had = Occupation(asyncio.Event(), asyncio.Event())

        async def work(end: asyncio.Event) -> None:
            async with bench.turn(owner):
                await end.wait()

        ends = [had.first] + [had.others] * (pieces - 1)
        tasks = [asyncio.create_task(work(end)) for end in ends]
        await asyncio.sleep(0.01)
        return had, tasks

    async def end(tasks: list[asyncio.Task[None]]) -> None:
        had.first.set()
        had.others.set()
        await asyncio.gather(*tasks)

    had, tasks = portal.call(begin)
    try:
        yield had
    finally:
        portal.call(end, tasks)


@pytest.mark.parametrize(
    ("bench", "method", "path", "content"),
    [
        ("decoders", "POST", "/v1/images", PICTURE),
        ("decoders", "GET", "/v1/images/{image}/preview", {}),
        ("decoders", "POST", "/v1/images/{image}/measure", PICTURE),
        ("workbench", "POST", "/v1/images/synthesize", {"json": SEED}),
        ("workbench", "GET", DISTORTED, {}),
        ("workbench", "POST", "/v1/images/{image}/measure", PICTURE),
        ("workbench", "POST", "/v1/losses/import", FILE),
        (
            "workbench",
            "POST",
            "/v1/losses/loss_0/compare",
            {"json": {"image_id": "img_0", "reference_image_id": "img_0"}},
        ),
        ("restorers", "POST", "/v1/models/import", FILE),
    ],
)
def test_an_owner_has_so_many_waiting_and_is_told_to_come_again(
    client: TestClient,
    make_key: Keys,
    assert_problem: Problem,
    bench: str,
    method: str,
    path: str,
    content: dict[str, object],
) -> None:
    make_key("admin")
    bob = make_key("write", owner="bob")
    image = client.post("/v1/images", headers=bob, files={"file": ("x", png())}).json()["id"]

    def ask() -> httpx.Response:
        return client.request(method, path.replace("{image}", image), headers=bob, **content)

    lanes = DECODERS_OF_OWNER if bench == "decoders" else 1
    waiting = WAITING[bench]
    with occupied(client, getattr(runtime(client), bench), "bob", pieces=lanes + waiting):
        answer = ask()
        problem = assert_problem(answer, 503, "unavailable")
        assert f"{waiting} requests of bob wait already" in str(problem["detail"])
        assert answer.headers["retry-after"] == "5"
    assert ask().status_code != 503


@pytest.mark.parametrize(
    ("bench", "lanes", "path", "content"),
    [
        ("decoders", DECODERS_OF_OWNER, "/v1/images", PICTURE),
        ("workbench", 1, "/v1/images/synthesize", {"json": SEED}),
    ],
)
def test_who_takes_all_their_places_is_in_the_way_of_nobody(
    client: TestClient,
    make_key: Keys,
    bench: str,
    lanes: int,
    path: str,
    content: dict[str, object],
) -> None:
    make_key("admin")
    alice = make_key("write", owner="alice")
    place, pieces = getattr(runtime(client), bench), lanes + WAITING[bench]
    with ThreadPoolExecutor(1) as pool, occupied(client, place, "bob", pieces=pieces):
        # Done, while all that bob asked for still is, or waits.
        asked = pool.submit(client.post, path, headers=alice, **content)
        assert asked.result(PATIENCE_SECONDS).status_code == 201


@pytest.mark.parametrize(
    ("bench", "path", "content"),
    [
        ("decoders", "/v1/images", PICTURE),
        ("workbench", "/v1/images/synthesize", {"json": SEED}),
    ],
)
def test_who_comes_when_all_is_taken_is_next(
    client: TestClient, make_key: Keys, bench: str, path: str, content: dict[str, object]
) -> None:
    make_key("admin")
    alice = make_key("write", owner="alice")
    place = getattr(runtime(client), bench)
    turns = getattr(place, "_turns", place)
    most = turns._lanes_of_owner
    with (
        ThreadPoolExecutor(1) as pool,
        occupied(client, place, "bob", pieces=most) as bob,
        occupied(client, place, "carol", pieces=turns._lanes),  # some of it waits
        occupied(client, place, "bob", pieces=1),  # so does this
    ):
        asked = pool.submit(client.post, path, headers=alice, **content)
        wait_for(turns, "alice", asked)
        assert client.portal is not None
        client.portal.call(bob.first.set)
        # Though what waits of bob and of carol has waited for longer.
        assert asked.result(PATIENCE_SECONDS).status_code == 201


def test_who_waits_for_a_decoder_keeps_nobody_from_the_workbench(
    client: TestClient, make_key: Keys
) -> None:
    make_key("admin")
    bob, alice = make_key("write", owner="bob"), make_key("write", owner="alice")
    image = client.post("/v1/images", headers=bob, **PICTURE).json()["id"]
    decoders = runtime(client).decoders
    path = DISTORTED.replace("{image}", image)
    with ThreadPoolExecutor(1) as pool, occupied(client, decoders, "bob", pieces=DECODERS_OF_OWNER):
        asked = pool.submit(client.get, path, headers=bob)
        wait_for(decoders, "bob", asked)
        answer = client.post("/v1/images/synthesize", headers=alice, json=SEED)
        assert answer.status_code == 201
        assert not asked.done()
    assert asked.result(PATIENCE_SECONDS).status_code == 200


@pytest.mark.parametrize("side", ["width", "height", "to_width", "to_height"])
def test_what_no_picture_can_be_made_of_is_refused_before_its_turn(
    client: TestClient, make_key: Keys, side: str
) -> None:
    make_key("admin")
    bob = make_key("write", owner="bob")
    image = client.post("/v1/images", headers=bob, **PICTURE).json()
    path = f"/v1/images/{image['id']}/preview?{side}={image[side.removeprefix('to_')] + 1}"
    decoders = runtime(client).decoders
    with ThreadPoolExecutor(1) as pool, occupied(client, decoders, "bob", pieces=DECODERS_OF_OWNER):
        asked = pool.submit(client.get, path, headers=bob)
        assert asked.result(PATIENCE_SECONDS).status_code == 422


@pytest.mark.parametrize(
    ("work", "method", "path"),
    [
        ("images.decode", "POST", "/v1/images"),
        ("measurements.decode", "POST", "/v1/images/{image}/measure"),
        ("previews.read_file", "GET", "/v1/images/{image}/preview?width=32"),
    ],
)
def test_nothing_is_decoded_for_clients_who_are_gone(
    live: Live, monkeypatch: pytest.MonkeyPatch, work: str, method: str, path: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    picture = {"file": ("x.png", png(noise))}  # whose last bytes fill the server's buffer
    with httpx.Client(base_url=live.url) as client:
        image = client.post("/v1/images", files=picture).json()["id"]
    path = path.replace("{image}", image)
    files = picture if method == "POST" else None
    done = Mock(side_effect=attrgetter(work)(api.routers))
    monkeypatch.setattr(f"api.routers.{work}", done)
    loop, decoders = live.server.servers[0].get_loop(), live.server._runtime.decoders
    others = [f"owner {number}" for number in range(DECODERS)]
    for owner in others:
        asyncio.run_coroutine_threadsafe(decoders.take(owner), loop).result(PATIENCE_SECONDS)
    with ThreadPoolExecutor(1) as pool:
        for ending in (bytes(8), struct.pack("ii", 1, 0)):  # closed, reset
            leave_waiting(httpx.Request(method, live.url + path, files=files), decoders, ending)
        asked = pool.submit(httpx.request, method, live.url + path, files=files)
        wait_until(lambda: len(decoders._waiting) == 3 or asked.done())
        assert not asked.done(), asked.result().text
        for owner in others:
            loop.call_soon_threadsafe(decoders.pass_on, owner)
        assert asked.result(PATIENCE_SECONDS).status_code == 200
    assert done.call_count == 1


def leave_waiting(request: httpx.Request, decoders: Turns, linger: bytes) -> None:
    """Send a request, and go while it waits for its turn."""
    waiting = len(decoders._waiting)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    line = f"{request.method} {request.url.raw_path.decode()} HTTP/1.1\r\n"
    with socket.create_connection((request.url.host, request.url.port), timeout=60) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        client.sendall(f"{line}{head}\r\n".encode() + request.read())
        wait_until(lambda: len(decoders._waiting) > waiting)


def wait_for(turns: Turns, owner: str, asked: Future[httpx.Response]) -> None:
    """Until the owner's request waits for its turn."""
    wait_until(lambda: owner in turns._waiting.values() or asked.done())
    assert not asked.done(), asked.result().text
