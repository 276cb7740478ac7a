"""Restoring one image over HTTP: at once from the warm process, or by a job."""

import asyncio
import io
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from skimage import data

from services.blobs import StoredFile
from services.database.schema import Job, Model
from services.installation import Installation
from services.restoration import warm
from services.restoration.picture import restore_picture
from services.restorers.artefact import read_restorer
from services.turns import Turns

PHOTO = np.ascontiguousarray(data.astronaut()[:96, :128])
AT_ONCE = {"Prefer": "wait=120"}


def encoded(pixels: np.ndarray, form: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, form)
    return content.getvalue()


def decoded(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.fixture
def restore(client: TestClient, model: Model) -> Callable[..., object]:
    """Ask for the restoration of a file with the model."""

    def ask(content: bytes = encoded(PHOTO), query: str = "", **headers: str):
        return client.post(
            f"/v1/models/{model.id}/restore{query}",
            files={"file": ("a photograph.png", content)},
            headers=headers,
        )

    return ask


@pytest.mark.slow
def test_small_work_is_answered_with_the_image_itself(
    client: TestClient, installation: Installation, model: Model, restore, image_id: str
) -> None:
    answer = restore(**AT_ONCE)
    assert answer.status_code == 200, answer.text
    assert answer.headers["preference-applied"] == "wait=120"
    assert answer.headers["content-type"] == "image/png"
    assert 'filename="a photograph.png"' in answer.headers["content-disposition"]
    weights = installation.blobs.get(f"models/{model.sha256}.safetensors")
    torch.set_num_threads(1)
    expected = restore_picture(read_restorer(weights)[1], encoded(PHOTO), decoded=True)
    assert answer.content == expected.content
    assert client.get("/v1/jobs").json()["data"] == []
    images = client.get("/v1/images").json()["data"]
    assert [image["id"] for image in images] == [image_id]  # the upload was not kept

    stored = client.post(
        f"/v1/models/{model.id}/restore?format=webp&quality=90",
        json={"image_id": image_id},
        headers=AT_ONCE,
    )
    assert stored.status_code == 200, stored.text
    assert stored.headers["content-type"] == "image/webp"
    assert decoded(stored.content).size == (128, 96)

    # Warm: the process keeps the model, which it could not load again.
    installation.blobs.delete(f"models/{model.sha256}.safetensors")
    assert restore(**AT_ONCE).content == answer.content

    single = restore(encoded(np.full((1, 1, 3), 128, np.uint8)), **AT_ONCE)
    assert decoded(single.content).size == (1, 1)
    alpha = np.dstack([PHOTO, np.full(PHOTO.shape[:2], 100, np.uint8)])
    assert decoded(restore(encoded(alpha), **AT_ONCE).content).mode == "RGBA"


def test_without_a_preference_a_job_does_it(
    client: TestClient, installation: Installation, model: Model, restore
) -> None:
    answer = restore()
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["type"] == "restoration"
    assert job["name"] == "a photograph.png"
    (image,) = client.get("/v1/images").json()["data"]
    assert job["spec"] == {
        "type": "restoration",
        "model_id": model.id,
        "image_ids": [image["id"]],
        "dataset_id": None,
        "format": "png",
        "quality": None,
    }
    with installation.database.read() as session:
        assert session.get_one(Job, job["id"]).state == "queued"


def test_a_stored_image_is_named_in_json(client: TestClient, model: Model, image_id: str) -> None:
    url = f"/v1/models/{model.id}/restore?format=jpeg"
    answer = client.post(url, json={"image_id": image_id})
    assert answer.status_code == 202
    assert answer.json()["spec"]["image_ids"] == [image_id]
    assert answer.json()["spec"]["format"] == "jpeg"


def test_large_work_is_a_job_whatever_is_preferred(
    client: TestClient, restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "MAX_OPERATIONS", 1000)
    assert restore(**AT_ONCE).status_code == 202


def test_the_limit_is_a_second_or_ten_of_two_cores() -> None:
    dncnn = StoredFile("", 4 * 558_000, "")
    assert warm.is_small(dncnn, 481, 321)
    assert not warm.is_small(dncnn, 4000, 3000)


def test_who_would_wait_too_long_gets_a_job(
    client: TestClient, restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = client.app.state.runtime.restorers  # type: ignore[attr-defined]  # our app
    turns = Turns(lanes=1, lanes_of_owner=1, waiting=0, waiting_of_owner=0)
    monkeypatch.setattr(bench, "_turns", turns)
    asyncio.run(turns.take("somebody"))
    assert restore(**AT_ONCE).status_code == 202


@pytest.mark.slow
def test_what_is_not_done_in_time_is_done_by_a_job(client: TestClient, restore) -> None:
    assert restore(Prefer="wait=0").status_code == 202
    began = time.monotonic()
    answer = restore(Prefer="wait=1")  # the process has to load torch first
    if answer.status_code == 202:
        assert time.monotonic() - began < 20  # the second, and what a busy machine adds
        assert "preference-applied" not in answer.headers
    assert restore(**AT_ONCE).status_code == 200


def test_the_same_request_again_makes_no_second_job(
    client: TestClient, restore, assert_problem
) -> None:
    named = {"Idempotency-Key": "once"}
    first, second = restore(**named), restore(**named)
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert_problem(restore(query="?format=jpeg", **named), 422, "idempotency_key_reused")
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_bad_requests_are_refused_with_a_reason(
    client: TestClient, model: Model, restore, image_id: str, assert_problem
) -> None:
    url = f"/v1/models/{model.id}/restore"
    assert_problem(restore(b"no image"), 422, "bad_image")
    assert_problem(restore(query="?quality=80"), 422, "bad_input")
    assert_problem(restore(query="?format=gif"), 422, "bad_input")
    assert_problem(restore(query="?format=jpeg&quality=0"), 422, "bad_input")
    problem = assert_problem(client.post(url, json={"image": image_id}), 422, "bad_input")
    assert {each["pointer"] for each in problem["errors"]} == {"/image_id", "/image"}  # type: ignore[index, union-attr]
    problem = assert_problem(client.post(url, json={"image_id": "img_0"}), 422, "bad_input")
    assert_problem(client.post(url, json=[]), 422, "bad_input")
    assert_problem(client.post(url, content=b"x"), 415, "unsupported_media_type")
    assert_problem(client.post(url, files={"picture": ("a", b"x")}), 422, "bad_input")
    assert_problem(client.post(url, data={"file": "x"}, files={"other": b"y"}), 422, "bad_input")
    missing = client.post("/v1/models/model_0/restore", json={"image_id": image_id})
    assert_problem(missing, 404, "not_found")


def test_another_owners_model_is_not_there(
    client: TestClient, restore, make_key, assert_problem
) -> None:
    make_key("admin")
    assert_problem(restore(**make_key("write", owner="eve")), 404, "not_found")
    assert_problem(restore(**make_key("read")), 403, "forbidden")


@pytest.mark.slow
def test_a_model_that_is_gone_is_not_restored_with(
    client: TestClient, installation: Installation, model: Model, restore, assert_problem
) -> None:
    installation.blobs.delete(f"models/{model.sha256}.safetensors")
    assert_problem(restore(**AT_ONCE), 404, "not_found")
