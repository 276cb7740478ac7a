"""Restoration trainings as jobs: what they are given, and what they publish."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from mdf.artefact import Manifest, write_artefact
from mdf.discriminator import Discriminator, initialise
from services.access import LOCAL
from services.database.schema import Dataset, DatasetImage, Job, Loss, Model, now
from services.datasets.catalogue import image_key
from services.images import catalogue as images
from services.installation import Installation
from services.jobs import queries, results
from services.jobs.execution import COMPUTATIONS
from services.jobs.submission import submit
from services.losses import catalogue as losses
from services.phase2.recipe import RestorationTraining
from services.restorers import catalogue as models
from services.restorers.artefact import read_restorer

TINY = {
    "patch": 16,
    "batch": 2,
    "iterations": 4,
    "validate_every": 2,
    "validation_crop": 32,
    "sample_images": 1,
    "random_seed": 5,
}
PHOTOGRAPHS = (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())


@pytest.fixture
def add_dataset(installation: Installation) -> Callable[..., Dataset]:
    """Adds a ready data set of parts of photographs."""

    def add(pictures: Sequence[np.ndarray] = PHOTOGRAPHS, name: str = "photographs") -> Dataset:
        decoded = [
            images.from_pixels(np.ascontiguousarray(pixels[:40, 100:160]), {})
            for pixels in pictures
        ]
        digest = sha256("\n".join(each.digest for each in decoded).encode()).hexdigest()
        row = Dataset(
            id=f"ds_{digest[:32]}",
            owner="local",
            name=name,
            source={},
            on_bad_file="skip",
            received=0,
            ready=now(),
            digest=digest,
            images=len(decoded),
            pixels=2400 * len(decoded),
            bad_files=[],
            bad_file_count=0,
            created=now(),
        )
        with installation.database.write() as session:
            session.add(row)
            session.flush()
            for position, each in enumerate(decoded):
                stored = installation.blobs.put(image_key(each.digest), each.png)
                session.add(
                    DatasetImage(
                        dataset_id=row.id,
                        position=position,
                        name=f"{position}.png",
                        digest=each.digest,
                        blob=stored.blob,
                        width=each.width,
                        height=each.height,
                        size=stored.size,
                        sha256=stored.sha256,
                    )
                )
        return row

    return add


@pytest.fixture
def loss(installation: Installation) -> Loss:
    """An MDF loss of one discriminator that was not trained."""
    discriminator = Discriminator(width=4)
    initialise(discriminator, torch.Generator().manual_seed(0))
    manifest = Manifest(origin="trained", widths=(4,), iterations=(0,))
    content = write_artefact(manifest, [discriminator])
    with installation.database.write() as session:
        files = losses.store(session, installation.blobs, {"safetensors": content})
        return losses.add_imported(
            session, caller=LOCAL, name="loss", manifest=manifest.to_dict(), files=files
        )


def trained(installation: Installation, recording: Any, **spec: Any) -> tuple[Job, Model]:
    """The job of `spec`, run in this process, and what it published."""
    full = {"preset": "quick-dncnn-jpeg", "network": {"kind": "dncnn", "depth": 3, "width": 4}}
    job_spec = RestorationTraining.model_validate(full | spec | {"recipe": TINY})
    with installation.database.write() as session:
        job = submit(session, job_spec, caller=LOCAL)
    publish = COMPUTATIONS[job.type](installation, job, recording)
    with installation.database.write() as session:
        publish(session, session.get_one(Job, job.id))
    with installation.database.read() as session:
        model_id = results.of_jobs(session, [job])[job.id].model_id
        assert model_id is not None
        return job, models.get(session, model_id, LOCAL)


def test_a_job_publishes_the_model_in_every_format_and_a_contact_sheet(
    installation: Installation, add_dataset: Callable[..., Dataset], recording: Any
) -> None:
    dataset = add_dataset()
    job, model = trained(installation, recording(), dataset_id=dataset.id)
    with installation.database.read() as session:
        files = {file.format: file for file in models.files(session, model.id)}
        (sheet,) = queries.artifacts(session, job.id)
    assert set(files) == {"safetensors", "onnx", "pt2"}
    manifest, network = read_restorer(installation.blobs.get(files["safetensors"].blob))
    assert manifest.to_dict() == model.manifest
    assert network(torch.rand(1, 3, 20, 24)).shape == (1, 3, 20, 24)
    assert manifest.dataset["digest"] == dataset.digest
    assert (manifest.dataset["images"], manifest.dataset["validation_images"]) == (4, 1)
    assert (sheet.kind, sheet.media_type) == ("contact_sheet", "image/png")
    assert installation.blobs.get(sheet.blob).startswith(b"\x89PNG")


def test_the_same_job_gives_the_same_model(
    installation: Installation, add_dataset: Callable[..., Dataset], recording: Any
) -> None:
    dataset = add_dataset()
    _, first = trained(installation, recording(), dataset_id=dataset.id)
    _, second = trained(installation, recording(), dataset_id=dataset.id)
    assert first.id != second.id
    assert first.sha256 == second.sha256


def test_a_data_set_of_its_own_to_validate_on(
    installation: Installation, add_dataset: Callable[..., Dataset], recording: Any
) -> None:
    dataset = add_dataset(PHOTOGRAPHS[:3])
    other = add_dataset([data.rocket(), data.retina()[600:, 500:]], "other")
    _, model = trained(
        installation, recording(), dataset_id=dataset.id, validation_dataset_id=other.id
    )
    assert model.manifest["dataset"] == {
        "digest": dataset.digest,
        "images": 3,
        "validation_digest": other.digest,
        "validation_images": 2,
    }


def test_a_loss_of_the_catalogue_is_named_with_its_digest(
    installation: Installation, add_dataset: Callable[..., Dataset], loss: Loss, recording: Any
) -> None:
    run = recording()
    spec = {"kind": "mdf", "loss_id": loss.id}
    _, model = trained(installation, run, dataset_id=add_dataset().id, loss=spec)
    assert model.manifest["loss"] == {**spec, "digest": loss.sha256}
    _, _, values = run.points[0]
    assert values["mdf"] == values["loss"] > 0


def test_a_job_starts_from_a_model_of_the_catalogue(
    installation: Installation,
    add_dataset: Callable[..., Dataset],
    add_model: Callable[..., Model],
    recording: Any,
) -> None:
    dataset = add_dataset()
    start = add_model("dncnn", depth=3, width=4)
    _, scratch = trained(installation, recording(), dataset_id=dataset.id)
    _, continued = trained(installation, recording(), dataset_id=dataset.id, start_from=start.id)
    assert continued.sha256 != scratch.sha256
    assert "start_from" not in scratch.manifest["recipe"]
    assert len(continued.manifest["recipe"]["start_from"]) == 64
    weights = {
        model_id: read_restorer(content(installation, model_id))[1].state_dict()["model.0.weight"]
        for model_id in (start.id, continued.id)
    }
    assert torch.allclose(weights[start.id], weights[continued.id], atol=0.05)


def content(installation: Installation, model_id: str) -> bytes:
    with installation.database.read() as session:
        return installation.blobs.get(models.file(session, model_id, "safetensors").blob)


def test_samples_are_pictures_of_the_validation_images(
    installation: Installation, add_dataset: Callable[..., Dataset], recording: Any
) -> None:
    run = recording()
    trained(installation, run, dataset_id=add_dataset().id)
    sizes = {kind: Image.open(as_file(png)).size for (_, _, kind), png in run.samples.items()}
    assert sizes == dict.fromkeys(("degraded-1", "restored-1", "target-1"), (32, 32))


def as_file(png: bytes) -> Any:
    import io

    return io.BytesIO(png)
