"""`POST /v1/jobs/estimate`."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

Problem = Callable[..., dict[str, Any]]


def wanted(image_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "seed_image_ids": [image_id],
        "task": {"kind": "jpeg"},
        "preset": "quick",
        **fields,
    }


def test_a_training_is_estimated_and_not_submitted(client: TestClient, image_id: str) -> None:
    answer = client.post("/v1/jobs/estimate", json=wanted(image_id, name="x", priority=3))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told.keys() == {
        "seconds_low",
        "seconds_high",
        "memory_bytes",
        "memory",
        "basis",
        "trainings",
        "jobs_ahead",
        "wait_seconds",
    }
    assert 0 < told["seconds_low"] < told["seconds_high"]
    assert told["memory"] == "host"
    assert client.get("/v1/jobs").json()["data"] == []


def test_those_that_wait_are_counted(client: TestClient, image_id: str, job_id: str) -> None:
    assert job_id
    assert client.post("/v1/jobs/estimate", json=wanted(image_id)).json()["jobs_ahead"] == 1


def test_what_could_not_be_submitted_is_refused_alike(
    client: TestClient, image_id: str, assert_problem: Problem
) -> None:
    large = wanted(image_id, preset="paper")
    estimated, submitted = (
        assert_problem(client.post(path, json=large), 422, "bad_input")
        for path in ("/v1/jobs/estimate", "/v1/jobs")
    )
    assert estimated["detail"] == submitted["detail"]
    assert estimated["errors"] == submitted["errors"]


def test_nothing_but_trainings_is_estimated(
    client: TestClient, image_id: str, assert_problem: Problem
) -> None:
    other = {"type": "restoration", "model_id": "model_1", "image_ids": [image_id]}
    told = assert_problem(client.post("/v1/jobs/estimate", json=other), 422, "bad_input")
    assert "discriminator_training" in str(told["detail"])


def test_a_key_that_may_read_may_ask(
    client: TestClient, image_id: str, make_key: Callable[..., dict[str, str]]
) -> None:
    make_key("admin", owner="local")
    body = wanted(image_id)
    mine, others = (make_key("read", owner=owner) for owner in ("local", "anna"))
    assert client.post("/v1/jobs/estimate", json=body, headers=mine).status_code == 200
    refused = client.post("/v1/jobs/estimate", json=body, headers=others)
    assert refused.status_code == 422
    assert "there is no image" in refused.json()["detail"]
