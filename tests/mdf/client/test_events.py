"""A job's events arrive in order and once, whatever becomes of the connection."""

import json
from typing import Any

import pytest

from mdf.client import Client
from mdf.client.events import messages
from mdf.errors import ApiError, MDFError, UnreachableError

JOB = {
    "id": "job_1",
    "type": "discriminator_training",
    "name": "",
    "state": "running",
    "spec": {},
    "created": "2026-01-02T03:04:05Z",
}


def event(seq: int, kind: str = "log", **content: Any) -> bytes:
    data = {"seq": seq, "kind": kind, "content": content, "created": JOB["created"]}
    return f"id: {seq}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def test_messages_join_lines_and_skip_comments_and_fragments() -> None:
    lines = [": ping", "", "id: 1", "data: one", "data:two", "", "event: x", "", "data: cut off"]
    assert list(messages(lines, [].append)) == ["one\ntwo"]


def test_the_server_says_when_to_come_back(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[float] = []
    assert list(messages(["retry: 1500", "", "retry: soon", "", "data: x", ""], heard.append)) == [
        "x"
    ]
    assert heard == [1.5]
    server.break_off(200, b"retry: 600\n\n" + event(1), length=9999)
    server.reply(200, event(2, "state", state="succeeded"))
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    assert [one.seq for one in Client(server.url).jobs.follow("job_1")] == [1, 2]
    assert [0.45 <= seconds <= 0.75 for seconds in slept] == [True]


def test_events_end_with_the_job(server: Any) -> None:
    server.reply(200, event(1, "state", state="queued") + event(2, "state", state="succeeded"))
    events = list(Client(server.url).jobs.follow("job_1"))
    assert [one.seq for one in events] == [1, 2]
    assert events[1].state == "succeeded"
    assert server.asked[0].headers["Last-Event-ID"] == "0"
    assert server.asked[0].headers["Accept"] == "text/event-stream"


def test_a_broken_stream_goes_on_after_the_last_event(server: Any) -> None:
    lost: list[MDFError] = []
    server.break_off(200, event(1) + event(2) + event(3)[:20], length=9999)
    server.hang_up()
    server.reply(503)
    server.reply(200, event(2) + event(3) + event(4, "state", state="failed"))
    events = list(Client(server.url).jobs.follow("job_1", on_lost=lost.append))
    assert [one.seq for one in events] == [1, 2, 3, 4]
    assert [asked.headers["Last-Event-ID"] for asked in server.asked] == ["0", "2", "2", "2"]
    assert [type(error) for error in lost] == [UnreachableError, UnreachableError, ApiError]


def test_a_stream_that_the_server_closes_early_is_opened_again(server: Any) -> None:
    server.reply(200, event(1))
    server.reply_json(200, JOB)  # still running
    server.reply(200, event(2, "state", state="canceled"))
    assert [one.seq for one in Client(server.url).jobs.follow("job_1")] == [1, 2]


def test_the_failure_of_a_job_that_was_retried_is_not_its_end(server: Any) -> None:
    server.reply(
        200,
        event(1, "state", state="failed")
        + event(2, "state", state="queued")
        + event(3, "state", state="succeeded"),
    )
    events = list(Client(server.url).jobs.follow("job_1"))
    assert [one.state for one in events] == ["failed", "queued", "succeeded"]


def test_following_a_job_after_its_last_event_ends_at_once(server: Any) -> None:
    server.reply(200, b"")
    server.reply_json(200, JOB | {"state": "succeeded"})
    server.reply_json(200, {"data": [], "next_cursor": None})
    assert list(Client(server.url).jobs.follow("job_1", after=7)) == []


def test_an_unknown_job_is_an_error_at_once(server: Any) -> None:
    server.reply_json(404, {"code": "not_found", "detail": "no job job_1"})
    with pytest.raises(ApiError, match="no job job_1"):
        list(Client(server.url).jobs.follow("job_1"))
    assert len(server.asked) == 1


def test_patience_ends(server: Any) -> None:
    server.hang_up()
    with pytest.raises(UnreachableError):
        list(Client(server.url).jobs.follow("job_1", patience=-1))


def test_waiting_survives_a_server_that_restarts(server: Any) -> None:
    server.reply_json(200, JOB)
    server.hang_up()
    server.reply_json(200, JOB | {"state": "succeeded", "loss_id": "loss_1"})
    job = Client(server.url, retries=0).jobs.wait("job_1")
    assert (job.succeeded, job.loss_id) == (True, "loss_1")


@pytest.mark.parametrize("status", [500, 502, 503])
def test_waiting_survives_a_fault_that_passes(server: Any, status: int) -> None:
    server.reply(status, b"<html>Bad Gateway</html>")
    server.reply_json(200, JOB | {"state": "succeeded"})
    assert Client(server.url, retries=0).jobs.wait("job_1").succeeded


def test_waiting_ends_at_a_refusal_and_when_patience_does(server: Any) -> None:
    server.reply(502)
    with pytest.raises(ApiError):
        Client(server.url, retries=0).jobs.wait("job_1", patience=-1)
    server.reply_json(404, {"code": "not_found", "detail": "no job job_1"})
    server.reply_json(404, {"code": "not_found", "detail": "no job job_1"})
    with pytest.raises(ApiError, match="no job job_1"):
        Client(server.url, retries=0).jobs.wait("job_1")


def test_waiting_can_be_limited(server: Any) -> None:
    server.reply_json(200, JOB)
    with pytest.raises(TimeoutError, match="job job_1 has not ended within 0 seconds"):
        Client(server.url).jobs.wait("job_1", timeout=0)
