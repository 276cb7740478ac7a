"""What the client asks for when it trains and uses models, and how it reads the answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from mdf.client import Client, Image, Job, Loss, Model
from mdf.client.ids import is_id
from mdf.client.records import parse
from mdf.errors import ApiError, MDFError

DIGITS = 32 * "7"
CREATED = "2026-01-02T03:04:05Z"
JOB = {
    "id": "job_1",
    "type": "restoration",
    "name": "",
    "state": "queued",
    "spec": {},
    "created": CREATED,
}
LOSS = {"id": f"loss_{DIGITS}", "name": "l", "sha256": "ab", "manifest": {}, "created": CREATED}
IMAGE = {
    "id": f"img_{DIGITS}",
    "name": "a.png",
    "digest": "00",
    "width": 32,
    "height": 32,
    "size": 9,
    "created": CREATED,
    "source": {},
}
MODEL = {
    "id": f"model_{DIGITS}",
    "name": "cat",
    "sha256": "ab",
    "manifest": {"network": {"kind": "dncnn"}},
    "created": CREATED,
    "job_id": "job_1",
    "files": [{"format": "onnx", "size": 9, "sha256": "cd"}],
}


@pytest.fixture
def client(server: Any) -> Client:
    return Client(server.url)


def test_only_a_whole_id_is_an_id() -> None:
    assert is_id(f"img_{DIGITS}", "img")
    assert not is_id(f"img_{DIGITS}", "loss")
    assert not is_id("img_001.png", "img")
    assert not is_id(b"img", "img")


def test_a_small_image_comes_back_at_once(client: Client, server: Any, tmp_path: Path) -> None:
    server.reply(200, b"restored", Content_Type="image/webp", Preference_Applied="wait=5")
    file = tmp_path / "cat.png"
    file.write_bytes(b"pixels")
    restored = client.models.restore("model_1", file, format="webp", quality=80, wait=5)
    assert restored == b"restored"
    (asked,) = server.asked
    assert asked.path == "/v1/models/model_1/restore?format=webp&quality=80"
    assert asked.headers["Prefer"] == "wait=5"
    assert b'filename="cat.png"' in asked.body
    assert b"pixels" in asked.body


@pytest.mark.parametrize("image", [IMAGE["id"], parse(Image, IMAGE)], ids=["id", "record"])
def test_an_image_on_the_server_is_named_and_a_job_may_be_the_answer(
    client: Client, server: Any, image: str | Image
) -> None:
    server.reply_json(202, JOB)
    job = client.models.restore("model_1", image, wait=None)
    assert isinstance(job, Job)
    (asked,) = server.asked
    assert "Prefer" not in asked.headers
    assert json.loads(asked.body) == {"image_id": IMAGE["id"]}


def test_a_refused_image_is_named(client: Client, server: Any, tmp_path: Path) -> None:
    server.reply_json(422, {"code": "bad_image", "detail": "the file is empty (0 bytes)"})
    file = tmp_path / "empty.png"
    file.touch()
    with pytest.raises(ApiError, match=r"empty.png: the file is empty \(0 bytes\)"):
        client.models.restore("model_1", file)


def test_a_restorer_is_trained_with_what_is_given_and_the_presets_rest(
    client: Client, server: Any
) -> None:
    server.reply_json(202, JOB)
    client.train_restorer(f"ds_{DIGITS}", preset="quick-dncnn-jpeg")
    client.train_restorer(
        f"ds_{DIGITS}",
        preset="paper-edsr-sisr",
        loss=parse(Loss, LOSS),
        task={"kind": "sisr", "factor": 2},
        network="edsr",
        recipe={"iterations": 7},
        validation_dataset=f"ds_{32 * '8'}",
        start_from=parse(Model, MODEL),
        name="mine",
        priority=3,
    )
    bare, whole = (json.loads(asked.body) for asked in server.asked)
    assert bare == {
        "type": "restoration_training",
        "dataset_id": f"ds_{DIGITS}",
        "preset": "quick-dncnn-jpeg",
        "recipe": {},
    }
    assert whole == {
        "type": "restoration_training",
        "dataset_id": f"ds_{DIGITS}",
        "validation_dataset_id": f"ds_{32 * '8'}",
        "preset": "paper-edsr-sisr",
        "loss": {"kind": "mdf", "loss_id": LOSS["id"]},
        "task": {"kind": "sisr", "factor": 2},
        "network": {"kind": "edsr"},
        "recipe": {"iterations": 7},
        "start_from": MODEL["id"],
        "name": "mine",
        "priority": 3,
    }


@pytest.mark.parametrize(
    ("loss", "sent"),
    [
        ("mix", {"kind": "mix"}),
        ({"kind": "charbonnier", "epsilon": 0.1}, {"kind": "charbonnier", "epsilon": 0.1}),
        (LOSS["id"], {"kind": "mdf", "loss_id": LOSS["id"]}),
    ],
)
def test_a_loss_is_named_by_kind_whole_or_by_id(
    client: Client, server: Any, loss: Any, sent: dict[str, Any]
) -> None:
    server.reply_json(202, JOB)
    client.train_restorer(f"ds_{DIGITS}", preset="quick-dncnn-jpeg", loss=loss)
    assert json.loads(server.asked[0].body)["loss"] == sent


def test_a_loss_file_is_imported_first(client: Client, server: Any, tmp_path: Path) -> None:
    file = tmp_path / "loss_new.safetensors"
    file.write_bytes(b"weights")
    server.reply_json(201, LOSS)
    server.reply_json(202, JOB)
    client.train_restorer(f"ds_{DIGITS}", preset="quick-dncnn-jpeg", loss=str(file))
    imported, job = server.asked
    assert imported.path == "/v1/losses/import"
    assert b"weights" in imported.body
    assert json.loads(job.body)["loss"] == {"kind": "mdf", "loss_id": LOSS["id"]}


def test_many_images_or_a_data_set_are_restored_by_a_job(
    client: Client, server: Any, tmp_path: Path
) -> None:
    file = tmp_path / "img_001.png"
    file.write_bytes(b"pixels")
    server.reply_json(201, IMAGE)
    server.reply_json(202, JOB)
    client.restore([file, parse(Image, IMAGE)], parse(Model, MODEL), format="jpeg", quality=90)
    client.restore(f"ds_{DIGITS}", MODEL["id"])
    images, dataset = (json.loads(asked.body) for asked in server.asked[1:])
    assert images == {
        "type": "restoration",
        "model_id": MODEL["id"],
        "image_ids": [IMAGE["id"], IMAGE["id"]],
        "format": "jpeg",
        "quality": 90,
    }
    assert dataset == {
        "type": "restoration",
        "model_id": MODEL["id"],
        "dataset_id": f"ds_{DIGITS}",
        "format": "png",
    }


def test_a_model_is_imported_with_what_is_known_of_it(
    client: Client, server: Any, tmp_path: Path
) -> None:
    file = tmp_path / "dncnn_25.pth"
    file.write_bytes(b"weights")
    server.reply_json(201, MODEL)
    model = client.models.import_file(file, task={"kind": "denoising", "sigma": 25})
    assert model.files[0].format == "onnx"
    (asked,) = server.asked
    assert asked.path == "/v1/models/import"
    assert b'{"kind": "denoising", "sigma": 25}' in asked.body
    assert b"dncnn_25\r\n" in asked.body
    assert b'name="network"' not in asked.body


def test_a_format_that_a_model_lacks_is_told_with_those_that_are(
    client: Client, server: Any, tmp_path: Path
) -> None:
    server.reply_json(200, MODEL)
    with pytest.raises(MDFError, match="no file in the format 'pth'; it has: onnx"):
        client.models.download("model_1", tmp_path / "x", format="pth")
    assert not list(tmp_path.iterdir())
