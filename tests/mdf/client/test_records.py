"""From the service's JSON to dataclasses and back."""

from datetime import UTC, datetime

import pytest

from mdf.client.records import ApiKey, Event, Job, Loss, Page, Progress, parse, plain
from mdf.errors import ProtocolError

JOB = {
    "id": "job_1",
    "type": "discriminator_training",
    "name": "astronaut",
    "state": "running",
    "spec": {"preset": "quick"},
    "created": "2026-01-02T03:04:05.250000Z",
    "progress": {"scale": 3, "scales": 8, "step": 5, "steps": 60, "fraction": 0.25},
    "error": None,
    "eta_seconds": 12,
}


def test_a_job_is_read_with_its_parts() -> None:
    job = parse(Job, JOB)
    assert job.created == datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)
    assert job.progress == Progress(scale=3, scales=8, step=5, steps=60, fraction=0.25)
    assert job.eta_seconds == 12.0
    assert job.error is None
    assert not job.done


def test_lists_become_tuples_of_records() -> None:
    files = [{"format": "pth", "size": 9, "sha256": "ab", "href": "/x"}]
    loss = parse(
        Loss,
        {
            "id": "loss_1",
            "name": "n",
            "sha256": "ab",
            "manifest": {},
            "created": JOB["created"],
            "files": files,
        },
    )
    assert [file.format for file in loss.files] == ["pth"]


def test_fields_of_a_newer_server_are_ignored() -> None:
    assert parse(Job, JOB | {"mood": "good", "progress": None}).progress is None


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ProtocolError, match="the server's Job has no field 'spec'"):
        parse(Job, {name: value for name, value in JOB.items() if name != "spec"})


def test_a_value_of_the_wrong_kind_is_named() -> None:
    with pytest.raises(ProtocolError, match=r"Job\.created from the server"):
        parse(Job, JOB | {"created": "yesterday"})
    with pytest.raises(ProtocolError, match="where Job was expected"):
        parse(Job, ["not", "an", "object"])


def test_records_are_written_as_the_service_writes_them() -> None:
    written = plain(parse(Job, JOB))
    assert written["created"] == "2026-01-02T03:04:05.250000Z"
    assert written["progress"]["scale"] == 3
    assert parse(Job, written) == parse(Job, JOB)


def test_an_event_of_progress_is_progress() -> None:
    event = parse(
        Event,
        {"seq": 1, "kind": "progress", "content": JOB["progress"], "created": JOB["created"]},
    )
    assert event.progress is not None
    assert event.progress.fraction == 0.25
    assert event.state is None


def test_a_page_is_a_sequence() -> None:
    key = parse(
        ApiKey,
        {"id": "key_1", "name": "n", "owner": "o", "scopes": ["read"], "created": JOB["created"]},
    )
    page = Page((key,), next_cursor="c")
    assert (len(page), page[0].scopes, list(page)) == (1, ("read",), [key])
