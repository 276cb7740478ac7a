"""Models over HTTP: lists, downloads, card, deletion."""

import io
import json
import os
import pickle
import time
from hashlib import sha256

import pytest
import torch
from fastapi.testclient import TestClient

from models.restorers import initialise
from services.database.schema import Model
from services.installation import Installation
from services.restorers.networks import DnCnn


def test_a_model_is_shown_with_its_files_and_manifest(client: TestClient, model: Model) -> None:
    answer = client.get(f"/v1/models/{model.id}")
    assert answer.status_code == 200
    shown = answer.json()
    assert shown["name"] == "denoiser"
    assert shown["job_id"] is None
    assert shown["manifest"]["network"]["kind"] == "dncnn"
    assert [file["format"] for file in shown["files"]] == ["safetensors"]
    assert client.get("/v1/models").json() == {"data": [shown], "next_cursor": None}


def test_its_files_are_downloads_like_any(client: TestClient, model: Model, assert_problem) -> None:
    answer = client.get(f"/v1/models/{model.id}/content")
    assert sha256(answer.content).hexdigest() == model.sha256
    assert answer.headers["etag"] == f'"{model.sha256}"'
    assert answer.headers["content-type"] == "application/vnd.safetensors"
    assert 'filename="denoiser.safetensors"' in answer.headers["content-disposition"]
    head = client.head(f"/v1/models/{model.id}/content")
    assert head.headers["content-length"] == str(len(answer.content))
    missing = client.get(f"/v1/models/{model.id}/content?format=onnx")
    assert_problem(missing, 404, "not_found")
    assert_problem(client.get(f"/v1/models/{model.id}/content?format=pth"), 422, "bad_input")


@pytest.mark.slow
def test_an_imported_model_is_offered_in_three_formats(
    client: TestClient, installation: Installation, model: Model
) -> None:
    content = installation.blobs.get(f"models/{model.sha256}.safetensors")
    home = installation.settings.home_folder
    for name, age in (("import-killed", 7200), ("import-under-way", 60)):
        (home / name).mkdir()
        os.utime(home / name, (time.time() - age,) * 2)
    answer = client.post("/v1/models/import", files={"file": ("mine.safetensors", content)})
    assert answer.status_code == 201, answer.text
    assert [folder.name for folder in home.glob("import-*")] == ["import-under-way"]
    imported = answer.json()
    assert answer.headers["location"] == f"/v1/models/{imported['id']}"
    assert imported["name"] == "mine"
    assert imported["sha256"] == model.sha256
    assert imported["manifest"]["task"] == {"kind": "denoising", "sigma": [0, 55]}
    assert {file["format"] for file in imported["files"]} == {"safetensors", "onnx", "pt2"}
    for file in imported["files"]:
        url = f"/v1/models/{imported['id']}/content?format={file['format']}"
        assert sha256(client.get(url).content).hexdigest() == file["sha256"]


@pytest.mark.slow
def test_a_public_checkpoint_is_imported_with_what_is_known_of_it(client: TestClient) -> None:
    network = DnCnn(depth=3, width=4, batch_norm=False).build()
    initialise(network, torch.Generator().manual_seed(1))
    file = io.BytesIO()
    torch.save({"params": network.state_dict()}, file)
    task = {"kind": "jpeg", "quality": 40}
    answer = client.post(
        "/v1/models/import",
        files={"file": ("dncnn_jpeg.pth", file.getvalue())},
        data={"name": "public", "task": json.dumps(task)},
    )
    assert answer.status_code == 201, answer.text
    manifest = answer.json()["manifest"]
    assert manifest["origin"] == "imported"
    assert manifest["network"]["kind"] == "dncnn"
    assert (manifest["network"]["depth"], manifest["network"]["width"]) == (3, 4)
    assert manifest["task"] == task


@pytest.mark.slow
def test_what_is_no_model_is_refused(client: TestClient, assert_problem) -> None:
    def send(content: bytes, **fields: str):
        return client.post("/v1/models/import", files={"file": ("x.pth", content)}, data=fields)

    assert_problem(send(b""), 422, "bad_model_file")
    assert_problem(send(b"rubbish"), 422, "bad_model_file")
    assert_problem(send(pickle.dumps(Evil())), 422, "bad_model_file")
    problem = assert_problem(send(b"x", task='{"kind": "jpeg", "quality": 0}'), 422, "bad_input")
    assert problem["errors"][0]["pointer"].startswith("/task/quality")  # type: ignore[index]
    assert_problem(send(b"x", network="[]"), 422, "bad_input")
    assert_problem(send(b"x", network="{"), 400, "bad_request")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("a pickle was executed",)


def test_its_card_is_markdown(client: TestClient, model: Model) -> None:
    answer = client.get(f"/v1/models/{model.id}/card")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.text.startswith("# denoiser\n")


def test_a_deleted_model_is_gone(client: TestClient, model: Model, assert_problem) -> None:
    size = sum(file["size"] for file in client.get(f"/v1/models/{model.id}").json()["files"])
    assert client.delete(f"/v1/models/{model.id}").json() == {"id": model.id, "bytes_freed": size}
    for path in ("", "/content", "/card"):
        assert_problem(client.get(f"/v1/models/{model.id}{path}"), 404, "not_found")
    assert client.get("/v1/models").json()["data"] == []


def test_a_model_in_use_is_not_deleted(
    client: TestClient, model: Model, image_id: str, assert_problem
) -> None:
    job = {"type": "restoration", "model_id": model.id, "image_ids": [image_id]}
    answer = client.post("/v1/jobs", json=job)
    assert answer.status_code == 202, answer.text
    assert answer.json()["type"] == "restoration"
    assert answer.json()["spec"]["format"] == "png"
    problem = assert_problem(client.delete(f"/v1/models/{model.id}"), 409, "conflict")
    assert answer.json()["id"] in str(problem["detail"])
    assert_problem(client.delete(f"/v1/images/{image_id}"), 409, "conflict")
    assert_problem(client.post(f"/v1/jobs/{answer.json()['id']}/finish"), 409, "conflict")


def test_jobs_are_listed_by_type(client: TestClient, model: Model, image_id: str) -> None:
    wanted = {"type": "restoration", "model_id": model.id, "image_ids": [image_id]}
    job = client.post("/v1/jobs", json=wanted).json()
    assert client.get("/v1/jobs?type=restoration").json()["data"] == [job]
    assert client.get("/v1/jobs?type=restoration_training").json()["data"] == []


def test_a_bad_spec_is_pointed_at_whatever_its_type(
    client: TestClient, model: Model, assert_problem
) -> None:
    for body, pointer in (
        ({"type": "restoration", "model_id": model.id, "image_ids": []}, "/image_ids"),
        ({"type": "restoration", "model_id": "model_0", "image_ids": ["img_0"]}, "/model_id"),
        (
            {"type": "restoration_training", "preset": "quick-dncnn-jpeg", "recipe": {"batch": 0}},
            "/recipe/batch",
        ),
        (
            {
                "type": "restoration_training",
                "dataset_id": "ds_0",
                "preset": "quick-dncnn-jpeg",
                "loss": {"kind": "sum", "terms": [{"weight": 1, "loss": {"kind": "l1", "p": 1}}]},
            },
            "/loss/terms/0/loss/p",
        ),
        ({"type": "dataset_import", "dataset_id": "ds_0"}, "/type"),
    ):
        problem = assert_problem(client.post("/v1/jobs", json=body), 422, "bad_input")
        pointers = [each["pointer"] for each in problem["errors"]]
        assert pointer in pointers, problem
