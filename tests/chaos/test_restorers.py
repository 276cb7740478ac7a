"""`kill -9` of the job process in the middle of training a restorer, and of restoring images."""

import numpy as np
import pytest
from skimage import data
from sqlalchemy import select

from services.access import LOCAL
from services.database.schema import Model, ModelFile
from services.images import catalogue as images
from services.jobs import parts, queries

WORKER = ("-m", "workers")
PHOTOGRAPHS = {
    "astronaut.png": data.astronaut()[:72, 180:260],
    "chelsea.png": data.chelsea()[60:140, 120:200],
    "coffee.png": data.coffee()[100:180, 200:280],
    "rocket.png": data.rocket()[200:280, 300:380],
}


def published(house, job_id: str) -> dict[str, object]:
    """All that the training has published and told; there is one model, no more."""
    with house.installation.database.read() as session:
        model = session.scalars(select(Model).where(Model.job_id == job_id)).one()
        files = session.scalars(select(ModelFile).where(ModelFile.model_id == model.id)).all()
        artifacts = queries.artifacts(session, job_id)
        metrics = queries.metrics(session, job_id)
        samples = queries.samples(session, job_id)
    blobs = house.installation.blobs
    return {
        **{file.format: file.sha256 for file in files},
        **{artifact.kind: artifact.sha256 for artifact in artifacts},
        "metrics": [(row.scale, row.step, row.content) for row in metrics],
        "samples": [(row.scale, row.step, row.kind, blobs.get(row.blob)) for row in samples],
    }


@pytest.mark.slow
def test_a_killed_training_makes_the_model_of_one_never_interrupted(house, add_dataset):
    training = {
        "type": "restoration_training",
        "preset": "quick-dncnn-denoising",
        "dataset_id": add_dataset(PHOTOGRAPHS).id,
        "network": {"kind": "dncnn", "depth": 4, "width": 8},
        "recipe": {"iterations": 300, "patch": 32, "batch": 4, "validate_every": 100},
    }
    house.worker(WORKER)
    undisturbed, job_id = house.submit(**training), house.submit(**training)
    assert house.wait_for_end(undisturbed, seconds=120).state == "succeeded"

    house.wait(job_id, lambda job: job.checkpoint is not None, seconds=60)
    house.process(job_id).kill()

    assert house.wait_for_end(job_id, seconds=120).state == "succeeded"
    assert house.states(job_id) == ["queued", "running", "queued", "running", "succeeded"]
    expected = published(house, undisturbed)
    assert {"safetensors", "onnx", "pt2", "contact_sheet"} < set(expected)
    assert expected["metrics"]
    assert expected["samples"]
    assert published(house, job_id) == expected
    house.wait_until_swept()


@pytest.mark.slow
def test_a_killed_restoration_goes_on_with_the_next_image(house, add_model):
    model = add_model(depth=12, width=32)
    blobs = house.installation.blobs
    ids = []
    for number in range(12):
        pixels = np.roll(data.astronaut(), 40 * number, axis=1)[:256, :256]
        decoded = images.from_pixels(np.ascontiguousarray(pixels), {})
        with house.installation.database.write() as session:
            image, _ = images.add(session, blobs, decoded, name=f"{number}.png", caller=LOCAL)
        ids.append(image.id)
    house.worker((*WORKER, "--queues", "restore"))
    wanted = {"type": "restoration", "model_id": model.id, "image_ids": ids}
    undisturbed, job_id = house.submit(**wanted), house.submit(**wanted)
    assert house.wait_for_end(undisturbed, seconds=120).state == "succeeded"

    house.wait(job_id, lambda _: len(parts.done(blobs, job_id)) >= 3, seconds=60)
    house.process(job_id).kill()

    assert house.wait_for_end(job_id, seconds=120).state == "succeeded"
    assert house.states(job_id) == ["queued", "running", "queued", "running", "succeeded"]
    assert restored(house, job_id) == restored(house, undisturbed)
    house.wait(job_id, lambda _: not blobs.keys(parts.FOLDER), seconds=5)


def restored(house, job_id: str) -> bytes:
    """The archive that the job published."""
    with house.installation.database.read() as session:
        (artifact,) = queries.artifacts(session, job_id)
    content: bytes = house.installation.blobs.get(artifact.blob)
    return content
