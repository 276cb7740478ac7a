"""`mdf jobs`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

from mdf.client import Client, Job


def test_jobs_are_listed_and_shown(
    mdf_command: Callable[..., Result], mdf_json: Callable[..., Any], trained: Job
) -> None:
    listed = mdf_command("jobs", "ls", "--state", "succeeded")
    line = next(line for line in listed.stdout.splitlines() if trained.id in line)
    assert line.split()[1:5] == ["succeeded", "100%", "jpeg,", "quality"]
    assert trained.id in [job["id"] for job in mdf_json("jobs", "ls", "--limit", 1000)]
    shown = mdf_command("jobs", "show", trained.id).stdout
    assert str(trained.loss_id) in shown
    assert "iterations=8" in shown
    assert mdf_json("jobs", "show", trained.id)["loss_id"] == trained.loss_id


def test_events_are_followed_as_json_lines(
    mdf_command: Callable[..., Result], trained: Job
) -> None:
    result = mdf_command("jobs", "follow", trained.id, "--json")
    assert result.exit_code == 0
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["content"]["state"] == "succeeded"


def test_waiting_succeeds_only_if_all_have(
    mdf_command: Callable[..., Result], service: Any, trained: Job, seed_file: Path
) -> None:
    assert mdf_command("jobs", "wait", trained.id).exit_code == 0
    with Client(service.url) as client:
        other = client.train(seed_file, recipe={"scales": 2, "factor": "auto"})
        limited = mdf_command("jobs", "wait", other.id, "--timeout", "0.1")
        assert limited.exit_code == 1
        assert f"job {other.id} has not ended within 0.1 seconds" in limited.stderr
        client.jobs.cancel(other.id)
    result = mdf_command("jobs", "wait", trained.id, other.id, "--json")
    assert result.exit_code == 1
    assert [job["state"] for job in json.loads(result.stdout)] == ["succeeded", "canceled"]


def test_jobs_are_steered_and_removed(
    mdf_command: Callable[..., Result], service: Any, seed_file: Path
) -> None:
    with Client(service.url) as client:
        job = client.train(seed_file, recipe={"scales": 2, "factor": "auto", "iterations": 10_000})
    assert mdf_command("jobs", "pause", job.id).stdout.split()[:2][1] in {"pausing", "paused"}
    refused = mdf_command("jobs", "rm", job.id)
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"error: job {job.id} ")
    assert mdf_command("jobs", "cancel", job.id).exit_code == 0
    assert mdf_command("jobs", "wait", job.id).exit_code == 1
    assert mdf_command("jobs", "resume", job.id).exit_code == 1
    assert "queued" in mdf_command("jobs", "retry", job.id).stdout
    mdf_command("jobs", "cancel", job.id)
    mdf_command("jobs", "wait", job.id)
    assert mdf_command("jobs", "rm", job.id).stderr.startswith(f"removed {job.id}: ")


def test_an_unknown_job_is_told_in_one_line(mdf_command: Callable[..., Result]) -> None:
    for action in ("show", "follow", "wait", "cancel", "finish"):
        result = mdf_command("jobs", action, "job_0")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "error: no job job_0\n"


def test_an_unknown_state_is_told_with_those_that_are(mdf_command: Callable[..., Result]) -> None:
    result = mdf_command("jobs", "ls", "--state", "asleep")
    assert result.exit_code == 1
    assert "succeeded" in result.stderr
