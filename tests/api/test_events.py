"""Following a job from a real server: nothing missed, nothing twice, and a quick end."""

import asyncio
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from api import bodies, connections, event_feeds, event_streams
from services import keys
from services.access import LOCAL
from services.database.schema import Image, JobEvent
from services.installation import Installation
from services.jobs import lifecycle, queries, requests, submission
from services.phase1.recipe import DiscriminatorTraining
from tests.waiting import PATIENCE_SECONDS, wait_until

SSE = {"Accept": "text/event-stream"}


@pytest.fixture(autouse=True)
def no_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for an event that does not come, or for an end, is to find out."""
    monkeypatch.setattr(event_feeds, "_PING_SECONDS", math.inf)


@pytest.fixture
def job(installation: Installation, seed_image: Image) -> str:
    spec = DiscriminatorTraining.model_validate(
        {"seed_image_ids": [seed_image.id], "task": {"kind": "jpeg"}, "preset": "quick"}
    )
    with installation.database.write() as session:
        return submission.submit(session, spec, caller=LOCAL).id


@pytest.fixture
def write(installation: Installation, job: str) -> Callable[[int], None]:
    def write_events(count: int) -> None:
        for place in range(count):
            with installation.database.write() as session:
                lifecycle.record(session, job, "log", {"message": f"line {place}"})

    return write_events


def end(installation: Installation, job: str) -> None:
    with installation.database.write() as session:
        requests.cancel(session, job, LOCAL)


def parsed(lines: Iterator[str]) -> Iterator[dict[str, object]]:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            event = json.loads(fields["data"])
            assert str(event["seq"]) == fields["id"]
            assert event["kind"] == fields["event"]
            yield event
            fields = {}


def follow(url: str, **headers: str) -> list[dict[str, object]]:
    with httpx.stream("GET", url, headers=SSE | headers, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(parsed(answer.iter_lines()))


def test_events_arrive_as_they_happen_and_the_stream_ends_with_the_job(
    live, installation: Installation, job: str, write
) -> None:
    url = f"{live.url}/v1/jobs/{job}/events"
    write(3)
    with httpx.stream("GET", url, headers=SSE, timeout=30) as answer:
        events = parsed(answer.iter_lines())
        assert [next(events)["seq"] for _ in range(4)] == [1, 2, 3, 4]
        write(1)
        assert next(events)["content"] == {"message": "line 0"}
        end(installation, job)
        last = list(events)
    assert [event["content"]["state"] for event in last] == ["canceled"]
    assert last[0]["seq"] == 6


def test_a_client_that_comes_back_misses_nothing(
    live, installation: Installation, job: str, write
) -> None:
    write(600)  # more than a feed holds
    end(installation, job)
    url = f"{live.url}/v1/jobs/{job}/events"
    assert [event["seq"] for event in follow(url)] == list(range(1, 603))
    assert [event["seq"] for event in follow(url, **{"Last-Event-ID": "599"})] == [600, 601, 602]
    assert [event["seq"] for event in follow(f"{url}?after=601")] == [602]
    assert [event["seq"] for event in follow(f"{url}?after=5", **{"Last-Event-ID": "601"})] == [602]
    assert follow(f"{url}?after=602") == []


def test_who_has_seen_more_than_there_is_begins_anew(
    live, installation: Installation, job: str, write
) -> None:
    """As after a restore from a backup."""
    write(3)
    url = f"{live.url}/v1/jobs/{job}/events"
    with httpx.stream("GET", url, headers=SSE | {"Last-Event-ID": "7000"}, timeout=30) as answer:
        events = parsed(answer.iter_lines())
        assert [next(events)["seq"] for _ in range(4)] == [1, 2, 3, 4]
        end(installation, job)
        assert [event["seq"] for event in events] == [5]
    assert follow(url, **{"Last-Event-ID": "7000"}) == []  # it has ended: nothing is to come


def test_a_job_that_was_retried_goes_on(live, installation: Installation, job: str) -> None:
    end(installation, job)
    with installation.database.write() as session:
        requests.retry(session, job, LOCAL)
    url = f"{live.url}/v1/jobs/{job}/events"
    with httpx.stream("GET", url, headers=SSE, timeout=30) as answer:
        events = parsed(answer.iter_lines())
        assert [next(events)["content"]["state"] for _ in range(3)] == [
            "queued",
            "canceled",
            "queued",
        ]
        end(installation, job)
        assert [event["content"]["state"] for event in events] == ["canceled"]


def test_a_page_of_events_leads_to_the_next(live, job: str, write) -> None:
    write(6)
    first = httpx.get(f"{live.url}/v1/jobs/{job}/events?limit=3")
    assert [event["seq"] for event in first.json()["data"]] == [1, 2, 3]
    assert first.json()["next_cursor"] == "3"
    rest = httpx.get(live.url + first.links["next"]["url"] + "&limit=100")
    assert [event["seq"] for event in rest.json()["data"]][:3] == [4, 5, 6]
    last = httpx.get(f"{live.url}/v1/jobs/{job}/events?after=6").json()
    assert [event["seq"] for event in last["data"]] == [7]
    assert last["next_cursor"] is None


@pytest.mark.parametrize("wrong", ["x", "-1", "1.5", str(2**31), "99999999999999999999999"])
def test_a_number_that_no_event_has_is_refused(live, job: str, assert_problem, wrong: str) -> None:
    url = f"{live.url}/v1/jobs/{job}/events"
    assert_problem(httpx.get(f"{url}?after={wrong}"), 422, "bad_input")
    assert_problem(httpx.get(url, headers=SSE | {"Last-Event-ID": wrong}), 422, "bad_input")


def test_many_followers_cost_one_poller(
    live, installation: Installation, job: str, write, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    last_seqs = queries.last_seqs

    def count(session: object, job_ids: object) -> dict[str, int]:
        asked.append(job_ids)
        return last_seqs(session, job_ids)  # type: ignore[arg-type]  # as it came

    monkeypatch.setattr(queries, "last_seqs", count)
    url = f"{live.url}/v1/jobs/{job}/events"
    followers = 60
    seen: list[list[int]] = []

    async def one(http: httpx.AsyncClient) -> list[int]:
        async with http.stream("GET", url, headers=SSE) as answer:
            return [
                int(line.removeprefix("id: "))
                async for line in answer.aiter_lines()
                if line.startswith("id: ")
            ]

    async def all_of_them() -> None:
        limits = httpx.Limits(max_connections=followers)
        async with httpx.AsyncClient(limits=limits, timeout=60) as http:
            seen.extend(await asyncio.gather(*(one(http) for _ in range(followers))))

    started = time.monotonic()
    following = threading.Thread(target=lambda: asyncio.run(all_of_them()))
    following.start()
    await_streams(live, followers)
    time.sleep(0.5)
    write(40)
    end(installation, job)
    following.join()
    assert seen == [list(range(1, 43))] * followers
    assert len(asked) <= (time.monotonic() - started) / 0.2 + 2
    wait_until(lambda: live.server._runtime.feeds._feeds == {})


def test_a_fault_of_the_poller_does_not_end_it(
    live, installation: Installation, job: str, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    last_seqs = queries.last_seqs
    faults: list[Exception] = [RuntimeError("odd"), ValueError("a damaged row")]

    def fail_twice(session: object, job_ids: object) -> dict[str, int]:
        if faults:
            raise faults.pop()
        return last_seqs(session, job_ids)  # type: ignore[arg-type]  # as it came

    monkeypatch.setattr(queries, "last_seqs", fail_twice)
    url = f"{live.url}/v1/jobs/{job}/events"
    with httpx.stream("GET", url, headers=SSE, timeout=30) as answer:
        events = parsed(answer.iter_lines())
        next(events)
        end(installation, job)
        assert next(events)["content"]["state"] == "canceled"
    assert faults == []
    assert "a damaged row" in caplog.text


def test_a_silent_stream_is_kept_alive(live, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_feeds, "_TEND_SECONDS", 0.1)
    monkeypatch.setattr(event_feeds, "_PING_SECONDS", 0.3)
    url = f"{live.url}/v1/jobs/{job}/events?after=1"
    with httpx.stream("GET", url, headers=SSE, timeout=30) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("retry: ")
        assert [next(lines) for _ in range(4)] == ["", ": ping", "", ": ping"]


def test_a_stream_ends_when_its_job_is_deleted(live, installation: Installation, job: str) -> None:
    with installation.database.read() as session:
        row = queries.get(session, job, LOCAL)
    feeds = event_feeds.EventFeeds(installation.database, streams_per_key=1, interval=0.05)

    async def delete_while_following() -> list[bytes]:
        found = []
        with feeds.follow(row, LOCAL, after=0) as follower:
            while (chunk := await follower.next()) is not None:
                found.append(chunk)
                with installation.database.write() as session:
                    requests.cancel(session, job, LOCAL)
                requests.delete(installation.database, installation.blobs, job, LOCAL)
        await feeds.close()
        return found

    (chunk,) = asyncio.run(asyncio.wait_for(delete_while_following(), PATIENCE_SECONDS))
    assert chunk.endswith(b"\nid: 1\n\n")


def test_a_stream_ends_when_its_key_is_revoked(live, installation: Installation, job: str) -> None:
    with installation.database.write() as session:
        keys.create(session, name="other", owner="x", scopes=["admin"])
        key, token = keys.create(session, name="mine", owner="local", scopes=["read"])
    headers = SSE | {"Authorization": f"Bearer {token}"}
    with httpx.stream(
        "GET", f"{live.url}/v1/jobs/{job}/events", headers=headers, timeout=30
    ) as answer:
        events = parsed(answer.iter_lines())
        assert next(events)["seq"] == 1
        with installation.database.write() as session:
            keys.revoke(session, key.id)
        assert list(events) == []


def test_a_server_with_followers_stops_at_once(live, job: str) -> None:
    live.server.config.timeout_graceful_shutdown = 60  # for who does not stop by themselves
    with httpx.stream("GET", f"{live.url}/v1/jobs/{job}/events", headers=SSE, timeout=30) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("retry: ")
        took: list[float] = []
        stopping = threading.Thread(target=lambda: took.append(live.stop()))
        stopping.start()
        list(lines)
    stopping.join()
    assert took[0] < 30


def open_streams(live) -> int:
    return live.server._runtime.feeds.streams


def await_streams(live, number: int) -> None:
    wait_until(
        lambda: open_streams(live) == number,
        told=lambda: f"{open_streams(live)} streams are open, not {number}",
    )


def deaf(live, job: str) -> socket.socket:
    """A client that asks for a stream and takes nothing of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", int(live.url.rpartition(":")[2])))
    path = f"/v1/jobs/{job}/events"
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode()
    )
    return client


def fill(installation: Installation, job: str) -> None:
    """More than the kernel takes for a client that does not read."""
    with installation.database.write() as session:
        for _ in range(600):
            lifecycle.record(session, job, "log", {"message": "x" * 20_000})


def test_each_event_is_written_once_for_all(
    live, installation: Installation, job: str, write, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    of = event_feeds.Event.of

    def count(row: JobEvent) -> event_feeds.Event:
        made.append(row.seq)
        return of(row)

    monkeypatch.setattr(event_feeds.Event, "of", count)
    url = f"{live.url}/v1/jobs/{job}/events?after=1"
    with ThreadPoolExecutor(20) as clients:
        following = [clients.submit(follow, url) for _ in range(20)]
        await_streams(live, 20)
        write(10)
        end(installation, job)
        assert [len(each.result()) for each in following] == [11] * 20
    assert made == list(range(2, 13))


def test_a_client_that_goes_is_noticed_without_an_event(live, job: str) -> None:
    with httpx.stream("GET", f"{live.url}/v1/jobs/{job}/events", headers=SSE) as answer:
        assert answer.status_code == 200
        assert open_streams(live) == 1
    await_streams(live, 0)


def test_a_client_that_takes_nothing_is_cut_off(
    live, installation: Installation, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds, is_over = live.server._runtime.feeds, threading.Event()
    follow = feeds.follow

    @contextmanager
    def follow_and_tell(*args: Any, **options: Any) -> Iterator[event_feeds.Follower]:
        try:
            with follow(*args, **options) as follower:
                yield follower
        finally:
            is_over.set()

    monkeypatch.setattr(feeds, "follow", follow_and_tell)
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.5)
    fill(installation, job)
    with deaf(live, job) as client:
        assert is_over.wait(PATIENCE_SECONDS)
        client.settimeout(30)
        received = 0
        while part := client.recv(1 << 20):
            received += len(part)
        assert received < 6_000_000  # of twelve


def test_a_server_with_a_client_that_takes_nothing_stops_soon(
    live, installation: Installation, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.server.config.timeout_graceful_shutdown = 60
    monkeypatch.setattr(connections, "STALL_SECONDS", 60.0)
    fill(installation, job)
    with deaf(live, job):
        there = live.server.server_state.connections
        wait_until(lambda: any(each._stall.runs for each in tuple(there)))
        assert live.stop() < 30


def test_a_key_holds_so_many_streams_and_no_more(
    live, job: str, assert_problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live.server._runtime.feeds, "_streams_per_key", 2)
    url = f"{live.url}/v1/jobs/{job}/events"
    with httpx.stream("GET", url, headers=SSE) as first:
        assert first.status_code == 200
        with httpx.stream("GET", url, headers=SSE) as second:
            assert second.status_code == 200
            problem = assert_problem(httpx.get(url, headers=SSE), 429, "quota_exceeded")
            assert "2 event streams are open" in str(problem["detail"])
        await_streams(live, 1)
        with httpx.stream("GET", url, headers=SSE) as third:
            assert third.status_code == 200


def test_clients_are_told_to_come_back_one_after_another(
    live, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{live.url}/v1/jobs/{job}/events"

    def told() -> int:
        with httpx.stream("GET", url, headers=SSE) as answer:
            return int(next(answer.iter_lines()).removeprefix("retry: "))

    assert 260 <= told() <= 300
    monkeypatch.setattr(event_feeds.EventFeeds, "returning", 1000)
    spread = [told() for _ in range(10)]
    assert all(10_250 <= milliseconds <= 50_250 for milliseconds in spread)
    assert max(spread) - min(spread) > 500


def test_at_the_end_of_a_stream_clients_are_told_by_how_many_there_are_then(
    live, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with httpx.stream("GET", f"{live.url}/v1/jobs/{job}/events", headers=SSE) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("retry: ")
        monkeypatch.setattr(event_feeds.EventFeeds, "returning", 1000)
        httpx.post(f"{live.url}/v1/jobs/{job}/cancel")
        last = [line for line in lines if line][-1]
    assert 10_250 <= int(last.removeprefix("retry: ")) <= 50_250


def test_all_streams_of_a_server_that_ends_are_told_by_how_many_there_were(
    installation: Installation, job: str
) -> None:
    with installation.database.read() as session:
        row = queries.get(session, job, LOCAL)

    async def end_three() -> list[int]:
        feeds = event_feeds.EventFeeds(installation.database, streams_per_key=9)
        counts = []
        with ExitStack() as open_streams:
            for _ in range(3):
                open_streams.enter_context(feeds.follow(row, LOCAL, after=0))
            counts.append(feeds.returning)
            feeds.end_streams()
        counts += [feeds.streams, feeds.returning]
        await feeds.close()
        return counts

    assert asyncio.run(end_three()) == [3, 0, 3]


def test_a_stream_is_told_anew_when_it_has_been_open_for_a_while(
    live, job: str, write, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{live.url}/v1/jobs/{job}/events"
    with httpx.stream("GET", url, headers=SSE, timeout=30) as answer:
        lines = answer.iter_lines()
        fields = (line.partition(":")[0] for line in lines if line.startswith(("retry", "id")))
        assert [next(fields), next(fields)] == ["retry", "id"]
        monkeypatch.setattr(event_streams, "_ADVICE_SECONDS", 0.0)
        write(1)
        assert [next(fields), next(fields)] == ["retry", "id"]


def test_a_body_that_nobody_needs_ends_the_stream_when_it_does_not_come(
    live, job: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bodies, "SILENCE_SECONDS", 0.3)
    address = ("127.0.0.1", int(live.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=30) as client:
        client.sendall(
            f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: localhost\r\n"
            "Accept: text/event-stream\r\nContent-Length: 9\r\n\r\n".encode()
        )
        answer = b""
        while more := client.recv(65536):
            answer += more
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
