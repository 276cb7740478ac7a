"""Restorers of the real service: trained, downloaded, imported, used."""

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mdf.client import Client, Job
from mdf.errors import ApiError, MDFError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(service: Any) -> Client:
    return Client(service.url)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(content)).convert("RGB"))


def test_a_trained_model_is_downloaded_whole_and_works(
    client: Client, restorer: Job, tmp_path: Path
) -> None:
    assert restorer.succeeded, restorer.error
    model = client.models.get(str(restorer.model_id))
    assert (model.name, model.job_id) == ("photos-l1", restorer.id)
    assert model.manifest["loss"] == {"kind": "l1"}
    assert model.manifest["network"]["depth"] == 3
    assert {file.format for file in model.files} == {"safetensors", "onnx", "pt2"}
    assert model.id in [each.id for each in client.models.iterate()]
    program = client.models.download(model.id, tmp_path / "model.pt2", format="pt2")
    restore = torch.export.load(program).module()
    assert restore(torch.rand(1, 3, 40, 50)).shape == (1, 3, 40, 50)
    assert client.models.card(model.id).startswith("# photos-l1")


def test_progress_and_metrics_of_a_models_training(client: Client, restorer: Job) -> None:
    progress = [e.progress for e in client.jobs.follow(restorer.id) if e.progress is not None]
    assert {(each.scale, each.scales) for each in progress} == {(1, 1)}
    assert (progress[-1].step, progress[-1].fraction) == (6, 1)
    assert progress[-1].metrics is not None
    assert "validation_psnr" in progress[-1].metrics
    assert {s.kind for s in client.jobs.samples(restorer.id)} >= {"degraded-1", "restored-1"}


def test_one_image_comes_back_at_once_and_by_a_job_alike(
    client: Client, restorer: Job, seed_file: Path, tmp_path: Path
) -> None:
    model_id = str(restorer.model_id)
    at_once = client.models.restore(model_id, seed_file)
    assert isinstance(at_once, bytes)
    assert pixels(at_once).shape == (128, 160, 3)
    job = client.models.restore(model_id, client.images.upload(seed_file), wait=None)
    assert isinstance(job, Job)
    assert client.jobs.wait(job.id, timeout=60).succeeded
    later = client.jobs.download_artifact(job.id, "restored", tmp_path / "restored.png")
    assert np.array_equal(pixels(at_once), pixels(later.read_bytes()))


def test_many_images_come_as_an_archive(
    client: Client, restorer: Job, photos: Path, tmp_path: Path
) -> None:
    files = sorted(photos.iterdir())[:2]
    job = client.restore(files, str(restorer.model_id), format="webp", quality=80)
    assert client.jobs.wait(job.id, timeout=60).succeeded
    target = client.jobs.download_artifact(job.id, "restored", tmp_path / "restored.zip")
    with zipfile.ZipFile(target) as archive:
        assert len(archive.namelist()) == 2
        assert pixels(archive.read(archive.namelist()[0])).shape == (80, 96, 3)


def test_a_model_is_imported_and_deleted(client: Client, restorer: Job, tmp_path: Path) -> None:
    file = client.models.download(str(restorer.model_id), tmp_path / "mine.safetensors")
    imported = client.models.import_file(file, name="copy")
    assert (
        imported.manifest["network"]
        == client.models.get(str(restorer.model_id)).manifest["network"]
    )
    client.models.delete(imported.id)
    with pytest.raises(ApiError, match=imported.id):
        client.models.get(imported.id)


def test_a_folder_without_images_becomes_no_data_set(client: Client, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(MDFError, match="did not become a data set"):
        client.train_restorer(tmp_path, preset="quick-dncnn-jpeg")
