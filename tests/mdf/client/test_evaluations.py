"""What the client asks for when it compares models, and how it reads the answers."""

import json
from typing import Any

import pytest

from mdf.client import Client, Loss, Model
from mdf.client.records import parse, plain

DIGITS = 32 * "7"
CREATED = "2026-01-02T03:04:05Z"
JOB = {"id": "job_1", "type": "evaluation", "name": "", "state": "queued", "spec": {}}
JOB |= {"created": CREATED, "evaluation_id": "eval_1"}
FILE = {"name": "x", "sha256": "ab", "manifest": {}, "created": CREATED}
RESULT = {"n": 2, "mean": 27.5, "worst": 26.6, "mean_interval": [14.8, 40.2]}
EVALUATION = {
    "id": "eval_1",
    "name": "x",
    "job_id": "job_1",
    "task": {"kind": "jpeg"},
    "dataset": {"id": "ds_1", "name": "photos", "digest": None, "images": 2, "held_out": True},
    "crop": 2048,
    "random_seed": 0,
    "metrics": [{"name": "psnr", "label": "PSNR", "unit": "dB", "higher_is_better": True}],
    "model_ids": ["model_1"],
    "created": CREATED,
}
FIGURES = {
    "candidates": [
        {"id": "model_1", "name": "m", "results": {"psnr": {**RESULT, "worst_interval": None}}}
    ],
    "comparisons": [
        {"metric": "psnr", "first": "input", "second": "model_1", "advantage": -2.0}
        | {"t": None, "p": 0.98, "better": "model_1"}
    ],
}


@pytest.fixture
def client(server: Any) -> Client:
    return Client(server.url)


def test_models_are_compared_by_what_is_given(client: Client, server: Any) -> None:
    server.reply_json(202, JOB)
    model = parse(Model, {**FILE, "id": f"model_{DIGITS}"})
    loss = parse(Loss, {**FILE, "id": f"loss_{DIGITS}"})
    client.evaluate(model.id, f"ds_{DIGITS}")
    job = client.evaluate(
        [model, "model_2"],
        f"ds_{DIGITS}",
        metrics=["psnr"],
        losses=[loss],
        task="jpeg",
        images=9,
        crop=512,
        random_seed=3,
        name="mine",
    )
    assert job.evaluation_id == "eval_1"
    bare, whole = (json.loads(asked.body) for asked in server.asked)
    assert bare == {
        "type": "evaluation",
        "model_ids": [model.id],
        "dataset_id": f"ds_{DIGITS}",
        "loss_ids": [],
    }
    assert whole == {
        "type": "evaluation",
        "model_ids": [model.id, "model_2"],
        "dataset_id": f"ds_{DIGITS}",
        "metrics": ["psnr"],
        "loss_ids": [loss.id],
        "task": {"kind": "jpeg"},
        "images": 9,
        "crop": 512,
        "random_seed": 3,
        "name": "mine",
    }


def test_an_evaluation_is_read_with_its_figures(client: Client, server: Any) -> None:
    server.reply_json(200, EVALUATION | FIGURES)
    found = client.evaluations.get("eval_1")
    assert server.asked[0].path == "/v1/evaluations/eval_1"
    (candidate,) = found.candidates
    assert candidate.results["psnr"].mean_interval == (14.8, 40.2)
    assert candidate.results["psnr"].worst_interval is None
    assert found.dataset.held_out
    assert found.comparisons[0].better == "model_1"
    assert plain(found)["candidates"][0]["results"]["psnr"]["mean"] == 27.5


def test_a_list_has_no_figures(client: Client, server: Any) -> None:
    server.reply_json(200, {"data": [EVALUATION], "next_cursor": None})
    (listed,) = client.evaluations.list()
    assert listed.candidates == ()


def test_values_come_in_pages(client: Client, server: Any) -> None:
    image = {"position": 0, "dataset_position": 4, "name": "a.png", "width": 9, "height": 9}
    image |= {"values": {"input": {"psnr": 25.0}}, "pictures": {"input": "/v1/…"}}
    server.reply_json(200, {"data": [image], "next_cursor": None})
    (found,) = client.evaluations.values("eval_1")
    assert found.values["input"] == {"psnr": 25.0}
    assert server.asked[0].path == "/v1/evaluations/eval_1/values?limit=200"
