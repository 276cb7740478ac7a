"""`/v1/evaluations`, and the jobs that make them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from services.database.schema import Dataset, Evaluation, Model

Problem = Callable[..., dict[str, Any]]


@pytest.fixture
def dataset(add_dataset: Callable[..., Dataset]) -> Dataset:
    return add_dataset({"grey.png": np.full((64, 64, 3), 100, np.uint8)})


@pytest.fixture
def evaluation(
    client: TestClient,
    model: Model,
    dataset: Dataset,
    add_evaluation: Callable[[str], Evaluation],
) -> Evaluation:
    wanted = {"type": "evaluation", "model_ids": [model.id], "dataset_id": dataset.id}
    job: dict[str, Any] = client.post("/v1/jobs", json=wanted).json()
    return add_evaluation(job["id"])


def test_a_job_is_stored_with_the_task_of_its_models(
    client: TestClient, model: Model, dataset: Dataset
) -> None:
    wanted = {"type": "evaluation", "model_ids": [model.id], "dataset_id": dataset.id, "name": "x"}
    answer = client.post("/v1/jobs", json=wanted)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job["spec"] == {
        "type": "evaluation",
        "model_ids": [model.id],
        "dataset_id": dataset.id,
        "images": 100,
        "crop": 2048,
        "task": {"kind": "denoising", "sigma": [0, 55]},
        "metrics": ["psnr", "ssim"],
        "loss_ids": [],
        "random_seed": 0,
    }
    assert (job["type"], job["name"], job["evaluation_id"]) == ("evaluation", "x", None)
    listed = client.get("/v1/jobs?type=evaluation").json()["data"]
    assert [each["id"] for each in listed] == [job["id"]]
    refused = client.post(f"/v1/jobs/{job['id']}/finish")
    assert refused.status_code == 409
    assert client.post(f"/v1/jobs/{job['id']}/cancel").json()["state"] == "canceled"


def test_faults_are_pointed_at(
    client: TestClient, model: Model, dataset: Dataset, assert_problem: Problem
) -> None:
    wanted = {"type": "evaluation", "model_ids": [model.id], "dataset_id": dataset.id}
    for changes, pointer in (
        ({"metrics": ["niqe"]}, "/metrics/0"),
        ({"model_ids": [model.id, "model_0"]}, "/model_ids/1"),
        ({"loss_ids": ["loss_0"]}, "/loss_ids/0"),
        ({"metrics": ["iw_ssim"]}, "/dataset_id"),
        ({"images": 1001}, "/images"),
    ):
        problem = assert_problem(client.post("/v1/jobs", json=wanted | changes), 422, "bad_input")
        assert [each["pointer"] for each in problem["errors"]] == [pointer]


def test_the_list_says_what_was_compared(client: TestClient, evaluation: Evaluation) -> None:
    (found,) = client.get("/v1/evaluations").json()["data"]
    assert found["id"] == evaluation.id
    assert found["job_id"] == evaluation.job_id
    assert found["model_ids"] == ["model_1"]
    assert found["dataset"]["images"] == 2
    assert "candidates" not in found
    assert client.get(f"/v1/jobs/{evaluation.job_id}").json()["evaluation_id"] == evaluation.id


def test_one_says_what_came_of_it(client: TestClient, evaluation: Evaluation) -> None:
    found = client.get(f"/v1/evaluations/{evaluation.id}").json()
    told, model = found["candidates"]
    assert (told["id"], told["network"]) == ("input", None)
    assert model["results"]["psnr"]["mean"] == 27.5
    low, high = model["results"]["psnr"]["mean_interval"]
    assert low < 27.5 < high
    (test,) = found["comparisons"]
    assert (test["first"], test["second"], test["advantage"]) == ("input", "model_1", -2.0)
    assert test["p"] > 0.5


def test_values_come_in_pages_with_pictures(client: TestClient, evaluation: Evaluation) -> None:
    path = f"/v1/evaluations/{evaluation.id}/values"
    answer = client.get(path, params={"limit": 1})
    first = answer.json()
    assert first["next_cursor"] == "1"
    assert answer.headers["link"] == f'<{path}?limit=1&cursor=1>; rel="next"'
    (image,) = first["data"]
    assert image["values"]["model_1"] == {"psnr": 26.5}
    assert image["pictures"].keys() == {"input"}
    assert client.get(image["pictures"]["input"]).content == b"not looked at"
    rest = client.get(path, params={"cursor": "1"}).json()
    assert [each["position"] for each in rest["data"]] == [1]
    assert rest["data"][0]["pictures"] == {}
    assert rest["next_cursor"] is None


def test_it_goes_with_its_job(client: TestClient, evaluation: Evaluation) -> None:
    client.post(f"/v1/jobs/{evaluation.job_id}/cancel")
    assert client.delete(f"/v1/jobs/{evaluation.job_id}").status_code == 200
    for path in ("", "/values"):
        assert client.get(f"/v1/evaluations/{evaluation.id}{path}").status_code == 404
    assert client.get("/v1/evaluations").json()["data"] == []
