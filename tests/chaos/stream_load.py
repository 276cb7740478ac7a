"""Load on a running API, from processes of its own: `python stream_load.py follow|ask …`.

`follow` keeps event streams open, comes back to those that break off as a browser would, and
prints what it missed. `ask` sends requests at a fixed rate, whether or not the ones before were
answered, and prints how long each took from the moment that it was due. Both end with SIGTERM
and print JSON.
"""

import argparse
import asyncio
import json
import random
import re
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from uuid import uuid4

import httpx

NUMBER = re.compile(rb"^id: (\d+)$", re.MULTILINE)
END = re.compile(rb'^data: .*"state":"(?:succeeded|failed|canceled|expired)"', re.MULTILINE)
RETRY = re.compile(rb"^retry: (\d+)$", re.MULTILINE)


class Follower(asyncio.Protocol):
    """One client of one job's stream."""

    def __init__(self, job_id: str, address: tuple[str, int], key: str) -> None:
        self.job_id = job_id
        self.last = 0
        self.missed = self.doubled = self.returns = self.refused = 0
        self.ended = self.is_greeted = False
        self._address = address
        self._key = key
        self._retry = 1.0
        self._loop = asyncio.get_running_loop()

    async def connect(self) -> None:
        """Open the stream, or try again a little later."""
        self._received = b""
        self.is_greeted = False
        try:
            await self._loop.create_connection(lambda: self, *self._address)
        except OSError:
            self._come_back()

    def connection_made(self, transport) -> None:
        self._transport = transport
        transport.write(
            f"GET /v1/jobs/{self.job_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {self._key}\r\nAccept: text/event-stream\r\n"
            f"Last-Event-ID: {self.last}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._received += data
        whole, _, self._received = self._received.rpartition(b"\n\n")
        if not self.is_greeted and whole:
            self.is_greeted = True
            self.refused += not whole.startswith(b"HTTP/1.1 200 ")
        for found in NUMBER.finditer(whole):
            number = int(found[1])
            self.missed += max(0, number - self.last - 1)
            self.doubled += number <= self.last
            self.last = max(self.last, number)
        if found := RETRY.search(whole):
            self._retry = int(found[1]) / 1000
        if END.search(whole):
            self.ended = True

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended:
            self._come_back()

    def _come_back(self) -> None:
        self.returns += 1
        self._loop.call_later(self._retry, lambda: self._loop.create_task(self.connect()))


async def follow(address: tuple[str, int], key: str, jobs: list[str], clients: int) -> object:
    """`clients` streams, spread over `jobs`, until each has ended or the process is told to."""
    followers = [Follower(jobs[number % len(jobs)], address, key) for number in range(clients)]
    for place, follower in enumerate(followers):
        await follower.connect()
        if place % 20 == 19:
            await asyncio.sleep(0.05)
    while not all(follower.is_greeted for follower in followers):
        await asyncio.sleep(0.05)
    print("following", flush=True)
    stop = _stop_signal()
    while not stop.is_set() and not all(follower.ended for follower in followers):
        await asyncio.sleep(0.2)
    seen: dict[str, list[int]] = {}
    for follower in followers:
        seen.setdefault(follower.job_id, []).append(follower.last)
    return {
        "missed": sum(follower.missed for follower in followers),
        "doubled": sum(follower.doubled for follower in followers),
        "returns": sum(follower.returns for follower in followers),
        "refused": sum(follower.refused for follower in followers),
        "unfinished": sum(not follower.ended for follower in followers),
        "last": {job_id: [min(seqs), max(seqs)] for job_id, seqs in seen.items()},
    }


async def ask(
    url: str, key: str, jobs: list[str], image: str, rate: float, seed: int
) -> dict[str, object]:
    """`rate` requests a second of many kinds until the process is told to end."""
    chance = random.Random(seed)
    headers = {"Authorization": f"Bearer {key}"}
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
    times: list[float] = []
    repeated: list[float] = []
    statuses: Counter[int] = Counter()

    async def one(http: httpx.AsyncClient, due: float) -> None:
        took = times
        method, path, content = _request(chance, jobs, image)
        named = {"Idempotency-Key": uuid4().hex} if method == "POST" else {}
        wait = 0.25  # and twice as long each time, as `mdf.Client` does
        while True:
            try:
                answer = await http.request(method, path, json=content, headers=named)
            except httpx.TransportError:  # the API is being restarted
                took = repeated
                await asyncio.sleep(wait * chance.uniform(0.75, 1.25))
                wait *= 2
            else:
                break
        took.append(time.monotonic() - due)
        statuses[answer.status_code] += 1
        if answer.status_code == 202:  # the queue is to stay short
            with suppress(httpx.TransportError):
                await http.post(f"/v1/jobs/{answer.json()['id']}/cancel")

    stop = _stop_signal()
    async with (
        httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=30) as http,
        asyncio.TaskGroup() as requests,
    ):
        due = time.monotonic()
        while not stop.is_set():
            requests.create_task(one(http, due))
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
    return {"times": times, "repeated": repeated, "statuses": statuses}


def _request(
    chance: random.Random, jobs: list[str], image: str
) -> tuple[str, str, dict[str, object] | None]:
    draw = chance.random()
    job_id = chance.choice(jobs)
    if draw < 0.4:
        return "GET", f"/v1/jobs/{job_id}", None
    if draw < 0.6:
        return "GET", f"/v1/jobs/{job_id}/events?after=10&limit=50", None
    if draw < 0.75:
        return "GET", "/v1/jobs?limit=20", None
    if draw < 0.85:
        return "GET", f"/v1/images/{image}", None
    if draw < 0.95:
        return "GET", "/v1/me", None
    spec = {"seed_image_ids": [image], "task": {"kind": "jpeg"}, "preset": "quick"}
    return "POST", "/v1/jobs", spec


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return stop


def main() -> None:
    """Do as the arguments say; what else is needed comes as JSON on standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("follow", "ask"))
    what = parser.parse_args().what
    given = json.load(sys.stdin)
    port = given.pop("port")
    if what == "follow":
        result = asyncio.run(follow(("127.0.0.1", port), **given))
    else:
        result = asyncio.run(ask(f"http://127.0.0.1:{port}", **given))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
