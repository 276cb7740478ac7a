"""Whose turn it is at the processes that hold torch, over HTTP."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest
from fastapi.testclient import TestClient

from api.runtime import Runtime
from services.workbench import WAITING_OF_OWNER, Workbench
from tests.api.conftest import png

Keys = Callable[..., dict[str, str]]
Problem = Callable[..., dict[str, object]]
SEED = {"kind": "pink-noise", "width": 32, "height": 32}
TASK = '{"kind": "jpeg"}'
FILE = {"files": {"file": ("x.safetensors", b"x")}}


def runtime(client: TestClient) -> Runtime:
    return client.app.state.runtime  # type: ignore[attr-defined, no-any-return]  # our app


@dataclass
class Occupation:
    """Work of an owner, which lasts until it is told to end: the first, and those after it."""

    first: asyncio.Event
    others: asyncio.Event


@contextmanager
def occupied(client: TestClient, bench: Workbench, owner: str) -> Iterator[Occupation]:
    """One piece of work of the owner is being done, and as many wait as may."""
    portal = client.portal
    assert portal is not None

    async def begin() -> tuple[Occupation, list[asyncio.Task[None]]]:
        had = Occupation(asyncio.Event(), asyncio.Event())

        async def work(end: asyncio.Event) -> None:
            async with bench.turn(owner):
                await end.wait()

        ends = [had.first] + [had.others] * WAITING_OF_OWNER
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
        ("workbench", "POST", "/v1/images/synthesize", {"json": SEED}),
        ("workbench", "GET", f"/v1/images/img_0/distorted?task={TASK}", {}),
        ("workbench", "POST", "/v1/images/{image}/measure", {"files": {"file": ("x", png())}}),
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

    with occupied(client, getattr(runtime(client), bench), "bob"):
        answer = ask()
        problem = assert_problem(answer, 503, "unavailable")
        assert f"{WAITING_OF_OWNER} requests of bob wait already" in str(problem["detail"])
        assert answer.headers["retry-after"] == "5"
    assert ask().status_code != 503


def test_who_takes_all_their_places_is_in_the_way_of_nobody(
    client: TestClient, make_key: Keys
) -> None:
    make_key("admin")
    alice = make_key("write", owner="alice")
    bench = runtime(client).workbench
    with ThreadPoolExecutor(1) as pool, occupied(client, bench, "bob") as had:
        asked = pool.submit(client.post, "/v1/images/synthesize", headers=alice, json=SEED)
        while "alice" not in bench._turns._waiting.values():
            assert not asked.done(), asked.result().text
            time.sleep(0.01)
        assert client.portal is not None
        client.portal.call(had.first.set)
        # Done, while all that bob asked for before still waits.
        assert asked.result(60).status_code == 201
        assert not had.others.is_set()
