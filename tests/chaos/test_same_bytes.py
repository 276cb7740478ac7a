"""Killed and resumed, a job publishes the bytes of one that was never interrupted."""

import io
import os
import signal
import time
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data
from sqlalchemy import select

from services.access import LOCAL
from services.database.schema import Dataset, Loss, LossFile, Model, ModelFile
from services.datasets import catalogue, uploads
from services.datasets.source import Upload
from services.images import catalogue as images
from services.jobs import parts, queries
from services.jobs.lifecycle import TERMINAL

WORKER = ("-m", "workers")
PHASE_1 = {
    "task": {"kind": "jpeg"},
    "recipe": {
        "scales": 2,
        "max_size": 40,
        "min_size": 25,
        "factor": "auto",
        "iterations": 60,
        "lr_decay_at": 48,
        "width": 8,
    },
}
PHASE_2 = {
    "type": "restoration_training",
    "preset": "quick-dncnn-denoising",
    "network": {"kind": "dncnn", "depth": 4, "width": 8},
    "recipe": {"iterations": 300, "patch": 32, "batch": 4, "validate_every": 100},
}
PHOTOGRAPHS = {
    "astronaut.png": data.astronaut()[:72, 180:260],
    "chelsea.png": data.chelsea()[60:140, 120:200],
    "coffee.png": data.coffee()[100:180, 200:280],
    "rocket.png": data.rocket()[200:280, 300:380],
}
PHOTO = np.ascontiguousarray(data.astronaut()[:64, :96])


class Killing:
    """Kills a job's process, or its worker and the broker, and starts those again."""

    def __init__(self, house, broker, chance, program=WORKER) -> None:
        self._house = house
        self._broker = broker
        self._chance = chance
        self._program = program
        self._worker = house.worker(program)

    def kill(self, job_id: str, *, whole: bool) -> None:
        """Kill the process that has the job, or everything."""
        if not whole:
            for process in self._house.processes(job_id):
                process.kill()
            return
        os.kill(self._broker.pid, signal.SIGKILL)
        self._worker.kill()
        self._worker.wait()
        self._broker.start()
        self._worker = self._house.worker(self._program)

    def kill_at_random(self, job_id: str, *, ready: Callable[[], bool], seconds: float) -> int:
        """Kill within `seconds` of the job being `ready`, and up to twice again; says how often."""
        self._house.wait(job_id, lambda job: ready() or job.state in TERMINAL, seconds=120)
        kills = 0
        for _ in range(self._chance.randint(1, 3)):
            time.sleep(self._chance.uniform(0, seconds))
            if self._house.job(job_id).state in TERMINAL:
                break
            self.kill(job_id, whole=self._chance.random() < 0.3)
            kills += 1
            token = self._house.job(job_id).token
            self._house.wait(
                job_id,
                lambda job, token=token: (
                    job.state in TERMINAL or (job.state == "running" and job.token > token)
                ),
                seconds=60,
            )
        return kills


def published(house, job_id: str, product: type[Any], file: type[Any]) -> dict[str, object]:
    """All that a training has published and told; there is one product, no more."""
    with house.installation.database.read() as session:
        made = session.scalars(select(product).where(product.job_id == job_id)).one()
        column = file.loss_id if product is Loss else file.model_id
        files = session.scalars(select(file).where(column == made.id)).all()
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
@pytest.mark.parametrize("phase", [1, 2])
def test_a_killed_training_publishes_what_an_undisturbed_one_does(
    house, broker, add_dataset, count, chance, figures, audit, phase
):
    if phase == 1:
        training, tables, formats = PHASE_1, (Loss, LossFile), {"safetensors", "pth", "pt2"}
    else:
        training = PHASE_2 | {"dataset_id": add_dataset(PHOTOGRAPHS).id}
        tables, formats = (Model, ModelFile), {"safetensors", "onnx", "pt2"}
    rounds = count(short=1, full=20)
    with figures("2", f"phase {phase} killed and resumed: the same bytes", rounds) as scenario:
        killing = Killing(house, broker, chance)
        job_ids = [house.submit(**training)]
        undisturbed = house.wait_for_end(job_ids[0], seconds=120)
        assert undisturbed.state == "succeeded"
        expected = published(house, undisturbed.id, *tables)
        assert formats | {"contact_sheet"} < set(expected)
        assert len(expected["metrics"]) >= 2
        assert expected["samples"]
        kills = 0
        while len(job_ids) <= rounds:
            job_id = house.submit(**training)
            killed = killing.kill_at_random(
                job_id,
                ready=lambda job_id=job_id: house.job(job_id).checkpoint is not None,
                seconds=undisturbed.run_seconds / 2,
            )
            assert house.wait_for_end(job_id, seconds=120).state == "succeeded"
            if killed == 0:
                continue  # it had ended before
            kills += killed
            job_ids.append(job_id)
            if published(house, job_id, *tables) != expected:
                scenario.violate(f"{job_id} published something else")
        for fault in audit(job_ids):
            scenario.violate(fault)
        scenario.figure("kills", kills, at_least=rounds)
        house.wait_until_swept()


@pytest.mark.slow
def test_a_killed_restoration_goes_on_with_the_next_image(
    house, broker, add_model, count, chance, figures, audit
):
    model = add_model(depth=12, width=32)
    blobs = house.installation.blobs
    ids = []
    for number in range(12):
        pixels = np.roll(data.astronaut(), 40 * number, axis=1)[:256, :256]
        decoded = images.from_pixels(np.ascontiguousarray(pixels), {})
        with house.installation.database.write() as session:
            image, _ = images.add(session, blobs, decoded, name=f"{number}.png", caller=LOCAL)
        ids.append(image.id)
    wanted = {"type": "restoration", "model_id": model.id, "image_ids": ids}
    rounds = count(short=1, full=10)
    with figures("2", "restoration killed and resumed: the same archive", rounds) as scenario:
        killing = Killing(house, broker, chance, (*WORKER, "--queues", "restore"))
        job_ids = [house.submit(**wanted)]
        assert house.wait_for_end(job_ids[0], seconds=120).state == "succeeded"
        expected = restored(house, job_ids[0])
        while len(job_ids) <= rounds:
            job_id = house.submit(**wanted)
            killed = killing.kill_at_random(
                job_id,
                ready=lambda job_id=job_id: len(parts.done(blobs, job_id)) >= 3,
                seconds=0.5,
            )
            assert house.wait_for_end(job_id, seconds=120).state == "succeeded"
            if killed == 0:
                continue
            job_ids.append(job_id)
            if restored(house, job_id) != expected:
                scenario.violate(f"{job_id} published something else")
            house.wait(job_id, lambda _: not blobs.keys(parts.FOLDER), seconds=5)
        for fault in audit(job_ids):
            scenario.violate(fault)


def restored(house, job_id: str) -> bytes:
    """The archive that the job published."""
    with house.installation.database.read() as session:
        (artifact,) = queries.artifacts(session, job_id)
    content: bytes = house.installation.blobs.get(artifact.blob)
    return content


@pytest.mark.slow
def test_a_killed_import_ends_once_with_every_picture(house, broker, count, chance, figures, audit):
    content = archive(24)
    rounds = count(short=1, full=10)
    with figures("2", "import killed and resumed: the same data set", rounds) as scenario:
        killing = Killing(house, broker, chance)
        made = [submit(house, content)]
        assert house.wait_for_end(made[0].job_id, seconds=120).state == "succeeded"
        while len(made) <= rounds:
            dataset = submit(house, content)
            killed = killing.kill_at_random(
                dataset.job_id,
                ready=lambda job_id=dataset.job_id: house.job(job_id).checkpoint is not None,
                seconds=0.3,
            )
            assert house.wait_for_end(dataset.job_id, seconds=120).state == "succeeded"
            if killed:
                made.append(dataset)
        with house.installation.database.read() as session:
            expected, *rows = (session.get_one(Dataset, each.id) for each in made)
            for row in rows:
                if (row.images, row.digest) != (24, expected.digest):
                    scenario.violate(f"{row.id} holds something else")
                for place, picture in enumerate(
                    catalogue.pictures(session, house.installation.blobs, row.id)
                ):
                    if not np.array_equal(picture.read(), np.roll(PHOTO, place, axis=1)):
                        scenario.violate(f"picture {place} of {row.id} is another")
        for fault in audit([each.job_id for each in made]):
            scenario.violate(fault)
        house.wait_until_swept()
        assert house.installation.blobs.keys("uploads") == []


def archive(pictures: int) -> bytes:
    """A ZIP file of PHOTO, moved on a pixel from picture to picture."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for place in range(pictures):
            png = io.BytesIO()
            Image.fromarray(np.roll(PHOTO, place, axis=1)).save(png, "PNG")
            packed.writestr(f"{place:03}.png", png.getvalue())
    return content.getvalue()


def submit(house, content: bytes) -> Dataset:
    """A data set whose archive has arrived, and whose import is announced."""
    with house.installation.database.write() as session:
        dataset, _ = uploads.create(
            session,
            house.installation,
            Upload(size=len(content)),
            name="photographs",
            on_bad_file="skip",
            caller=LOCAL,
        )
    dataset, job = uploads.append(house.installation, dataset.id, 0, content, LOCAL)
    assert house.dispatcher.announce(job.id, job.type)
    return dataset
