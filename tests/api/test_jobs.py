"""Jobs over HTTP: what a submission must be, and how a job is steered."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert, update

from services.database.schema import Job, JobMetric
from services.installation import Installation


def body(image_id: str, **changes: object) -> dict[str, object]:
    return {
        "type": "discriminator_training",
        "seed_image_ids": [image_id],
        "task": {"kind": "jpeg", "quality": [7, 10]},
        "preset": "quick",
    } | changes


def test_a_submission_is_accepted_with_its_recipe_complete(
    client: TestClient, image_id: str
) -> None:
    deadline = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    answer = client.post(
        "/v1/jobs",
        json=body(image_id, name="first", priority=3, deadline=deadline, recipe={"iterations": 7}),
    )
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["name"], job["priority"], job["state"]) == ("first", 3, "queued")
    assert (job["attempt"], job["queue_position"], job["loss_id"]) == (0, 1, None)
    assert job["spec"]["preset"] == "quick"
    assert job["spec"]["recipe"]["iterations"] == 7
    assert job["spec"]["recipe"]["width"] == 16  # of the preset
    assert job["spec"]["recipe"]["beta2"] == 0.999  # of the paper
    assert "name" not in job["spec"]
    assert datetime.fromisoformat(job["deadline"]) == datetime.fromisoformat(deadline)
    assert client.get(f"/v1/jobs/{job['id']}").json() == job
    assert client.get("/v1/jobs").json()["data"] == [job]


BAD = {
    "unknown type": ({"type": "magic"}, "/type", "discriminator_training"),
    "unknown task": ({"task": {"kind": "magic"}}, "/task", "'denoising', 'jpeg', 'sisr', 'custom'"),
    "task without kind": ({"task": {}}, "/task", "needs a `kind`"),
    "no task": ({"task": None}, "/task", ""),
    "negative sigma": ({"task": {"kind": "denoising", "sigma": [-1, 5]}}, "/task/sigma", "-1"),
    "reversed sigma": ({"task": {"kind": "denoising", "sigma": [9, 5]}}, "/task/sigma", "above"),
    "quality 0": ({"task": {"kind": "jpeg", "quality": 0}}, "/task/quality", "from 1 to 100"),
    "quality 101": ({"task": {"kind": "jpeg", "quality": [7, 101]}}, "/task/quality", "100"),
    "half a quality": ({"task": {"kind": "jpeg", "quality": 7.5}}, "/task/quality", "whole"),
    "unknown task key": ({"task": {"kind": "sisr", "x": 1}}, "/task/x", "not a known field"),
    "unknown distortion": (
        {"task": {"kind": "custom", "distortions": [{"kind": "rain"}]}},
        "/task/distortions/0",
        "needs a `kind`",
    ),
    "bad distortion": (
        {"task": {"kind": "custom", "distortions": [{"kind": "jpeg", "quality": 0}]}},
        "/task/distortions/0/quality",
        "from 1 to 100",
    ),
    "no distortions": ({"task": {"kind": "custom", "distortions": []}}, "/task/distortions", "1"),
    "unknown key": ({"colour": "red"}, "/colour", "is not a known field"),
    "key with slashes": ({"a/b~c": 1}, "/a~1b~0c", "is not a known field"),
    "unknown preset": ({"preset": "fast"}, "/preset", "'paper', 'published' or 'quick'"),
    "unknown recipe key": ({"recipe": {"speed": 9}}, "/recipe/speed", "is not a known field"),
    "bad recipe value": ({"recipe": {"iterations": 0}}, "/recipe/iterations", "greater than"),
    "bad factor": ({"recipe": {"factor": "big"}}, "/recipe/factor", "'auto'"),
    "recipe at odds": ({"recipe": {"max_width": 8}}, "/recipe", "below width"),
    "doubled seeds": ({"seed_image_ids": ["img_1", "img_1"]}, "/seed_image_ids", "more than once"),
    "no seeds": ({"seed_image_ids": []}, "/seed_image_ids", "at least 1"),
    "missing image": ({"seed_image_ids": ["img_0"]}, "/seed_image_ids/0", "no such image"),
    "name with a newline": ({"name": "a\nb"}, "/name", "pattern"),
    "endless name": ({"name": "a" * 201}, "/name", "200"),
    "high priority": ({"priority": 101}, "/priority", "100"),
    "past deadline": ({"deadline": "2020-01-01T00:00:00Z"}, "/deadline", "passed"),
    "deadline beyond the calendar": (
        {"deadline": "9999-12-31T23:59:59-01:00"},
        "/deadline",
        "years 1 to 9999",
    ),
    "deadline before the calendar": (
        {"deadline": "0001-01-01T00:00:00+01:00"},
        "/deadline",
        "years 1 to 9999",
    ),
    "deadline without zone": ({"deadline": "2099-01-01T00:00:00"}, "/deadline", "timezone"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_submission_is_told_where_it_is_wrong(
    client: TestClient, image_id: str, assert_problem, kind: str
) -> None:
    changes, pointer, words = BAD[kind]
    problem = assert_problem(
        client.post("/v1/jobs", json=body(image_id, **changes)), 422, "bad_input"
    )
    faults = {fault["pointer"]: fault["detail"] for fault in problem["errors"]}
    assert list(faults) == [pointer]
    assert words in faults[pointer]
    assert client.get("/v1/jobs").json()["data"] == []


def test_every_fault_is_named_at_once(client: TestClient, image_id: str, assert_problem) -> None:
    wrong = body(image_id, priority="x", recipe={"factor": "x", "layers": 1}, extra=True)
    del wrong["task"]
    problem = assert_problem(client.post("/v1/jobs", json=wrong), 422, "bad_input")
    assert {fault["pointer"] for fault in problem["errors"]} == {
        "/task",
        "/priority",
        "/recipe/factor",
        "/recipe/layers",
        "/extra",
    }


def test_a_seed_too_small_for_the_pyramid_is_told_the_ways_out(
    client: TestClient, image_id: str, assert_problem
) -> None:
    answer = client.post("/v1/jobs", json=body(image_id, preset="paper"))
    problem = assert_problem(answer, 422, "bad_input")
    (fault,) = problem["errors"]
    assert fault["pointer"] == "/seed_image_ids/0"
    for words in ("1408 px", "`factor: auto`", "`padding: same`"):
        assert words in fault["detail"]


def test_a_job_is_steered(client: TestClient, job_id: str, assert_problem) -> None:
    def post(action: str) -> tuple[int, str]:
        answer = client.post(f"/v1/jobs/{job_id}/{action}")
        return answer.status_code, answer.json().get("state") or answer.json()["code"]

    assert post("resume") == (409, "conflict")
    assert post("retry") == (409, "conflict")
    assert post("pause") == (200, "paused")
    assert post("resume") == (200, "queued")
    assert post("finish") == (200, "queued")
    assert_problem(client.delete(f"/v1/jobs/{job_id}"), 409, "conflict")
    assert post("cancel") == (200, "canceled")
    assert post("cancel") == (200, "canceled")
    assert post("pause") == (409, "conflict")
    assert post("retry") == (200, "queued")
    assert post("cancel") == (200, "canceled")
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 200
    assert_problem(client.get(f"/v1/jobs/{job_id}"), 404, "not_found")
    assert post("cancel") == (404, "not_found")


@pytest.mark.parametrize("name", ["\x1b[2J", "\x9b2J", "\u202eab", "a\u2028b"])
def test_a_name_gives_no_orders_to_the_screen(
    client: TestClient, job_id: str, assert_problem, name: str
) -> None:
    problem = assert_problem(
        client.patch(f"/v1/jobs/{job_id}", json={"name": name}), 422, "bad_input"
    )
    assert [each["pointer"] for each in problem["errors"]] == ["/name"]


def test_a_job_is_renamed_and_moved(client: TestClient, image_id: str, job_id: str) -> None:
    second = client.post("/v1/jobs", json=body(image_id)).json()
    assert second["queue_position"] == 2
    changed = client.patch(f"/v1/jobs/{second['id']}", json={"name": "soon", "priority": 5}).json()
    assert (changed["name"], changed["priority"], changed["queue_position"]) == ("soon", 5, 1)
    assert client.get(f"/v1/jobs/{job_id}").json()["queue_position"] == 2
    assert client.patch(f"/v1/jobs/{job_id}", json={}).json()["name"] == ""
    for wrong in ({"state": "done"}, {"priority": 1000}, {"name": 5}, []):
        assert client.patch(f"/v1/jobs/{job_id}", json=wrong).status_code == 422


def test_jobs_are_listed_by_state(client: TestClient, image_id: str, job_id: str) -> None:
    client.post(f"/v1/jobs/{job_id}/cancel")
    other = client.post("/v1/jobs", json=body(image_id)).json()["id"]

    def listed(query: str) -> list[str]:
        return [job["id"] for job in client.get(f"/v1/jobs?{query}").json()["data"]]

    assert listed("") == [other, job_id]
    assert listed("state=queued") == [other]
    assert listed("state=canceled&type=discriminator_training") == [job_id]
    assert client.get("/v1/jobs?state=lost").status_code == 422


def test_metrics_are_thinned_with_first_and_last_kept(
    client: TestClient, installation: Installation, job_id: str
) -> None:
    with installation.database.write() as session:
        session.add_all(
            JobMetric(job_id=job_id, scale=1, step=step, content={"d": step / 2, "g": -1.0})
            for step in range(1, 101)
        )
    url = f"/v1/jobs/{job_id}/metrics"
    everything = client.get(url).json()["data"]
    assert len(everything) == 100
    assert everything[9] == {"scale": 1, "step": 10, "values": {"d": 5.0, "g": -1.0}}
    thinned = client.get(url, params={"max_points": 7, "keys": ["d"]}).json()["data"]
    steps = [point["step"] for point in thinned]
    assert len(steps) <= 7
    assert (steps[0], steps[-1]) == (1, 100)
    assert max(np.diff(steps)) <= 2 * min(np.diff(steps)[:-1])
    assert thinned[0]["values"] == {"d": 0.5}
    assert [point["step"] for point in client.get(f"{url}?after_step=98").json()["data"]] == [
        99,
        100,
    ]
    assert client.get(f"{url}?scale=2").json()["data"] == []
    assert client.get(f"{url}?max_points=1").status_code == 422


def test_metrics_without_a_number_of_points_are_bounded(
    client: TestClient, installation: Installation, job_id: str
) -> None:
    with installation.database.write() as session:
        rows = [
            {"job_id": job_id, "scale": 1, "step": step, "content": {"d": 1.0}}
            for step in range(1, 10_051)
        ]
        session.execute(insert(JobMetric), rows)
    points = client.get(f"/v1/jobs/{job_id}/metrics").json()["data"]
    assert 5_000 <= len(points) <= 10_000
    assert (points[0]["step"], points[-1]["step"]) == (1, 10_050)


def test_a_job_is_not_taken_on_when_the_disk_is_full(
    client: TestClient, installation: Installation, image_id: str, assert_problem
) -> None:
    headers = {"Idempotency-Key": "k"}
    first = client.post("/v1/jobs", json=body(image_id), headers=headers)
    assert first.status_code == 202
    installation.blobs._floor = 1 << 60
    refused = client.post("/v1/jobs", json=body(image_id))
    assert_problem(refused, 507, "disk_full")
    assert len(client.get("/v1/jobs").json()["data"]) == 1
    again = client.post("/v1/jobs", json=body(image_id), headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())


def test_a_job_is_not_taken_up_again_when_the_disk_is_full_but_ended(
    client: TestClient, installation: Installation, job_id: str, assert_problem
) -> None:
    url = f"/v1/jobs/{job_id}"
    assert client.post(f"{url}/pause").json()["state"] == "paused"
    installation.blobs._floor = 1 << 60
    assert_problem(client.post(f"{url}/resume"), 507, "disk_full")
    assert client.get(url).json()["state"] == "paused"
    assert client.post(f"{url}/finish").json()["state"] == "queued"
    assert client.post(f"{url}/cancel").json()["state"] == "canceled"
    assert_problem(client.post(f"{url}/retry"), 507, "disk_full")
    installation.blobs._floor = 0
    assert client.post(f"{url}/retry").json()["state"] == "queued"


def test_a_failed_job_says_why(client: TestClient, installation: Installation, job_id: str) -> None:
    error = {"code": "diverged", "message": "the loss is not finite", "retryable": False}
    progress = {"scale": 2, "scales": 8, "step": 5, "steps": 60, "fraction": 0.2, "metrics": {}}
    with installation.database.write() as session:
        session.execute(update(Job).values(state="failed", error=error, progress=progress))
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert job["error"] == error
    assert job["progress"] == progress
    assert job["queue_position"] is None
