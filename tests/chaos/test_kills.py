"""`kill -9` of the job process, the worker and Redis in the middle of training."""

import os
import signal
import time

import pytest
from sqlalchemy import select

from services.database.schema import Loss, LossFile
from services.jobs import queries

WORKER = ("-m", "workers")
TRAINING = {
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


def published(house, job_id: str) -> dict[str, object]:
    """All that the job has published and told; there is one loss, no more."""
    with house.installation.database.read() as session:
        loss = session.scalars(select(Loss).where(Loss.job_id == job_id)).one()
        files = session.scalars(select(LossFile).where(LossFile.loss_id == loss.id)).all()
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
def test_a_killed_training_ends_once_with_the_bytes_of_one_never_interrupted(house, broker):
    worker = house.worker(WORKER)
    undisturbed, job_id = house.submit(**TRAINING), house.submit(**TRAINING)
    assert house.wait_for_end(undisturbed, seconds=120).state == "succeeded"

    house.wait(job_id, lambda job: job.checkpoint is not None, seconds=60)
    house.process(job_id).kill()

    before = house.wait(job_id, lambda job: job.attempt == 2, seconds=60).checkpoint
    house.wait(job_id, lambda job: job.checkpoint != before, seconds=60)
    os.kill(broker.pid, signal.SIGKILL)
    worker.kill()
    time.sleep(0.5)
    broker.start()
    house.worker(WORKER)

    assert house.wait_for_end(job_id, seconds=120).state == "succeeded"
    assert house.states(job_id) == [
        *("queued", "running", "queued", "running", "queued", "running", "succeeded")
    ]
    expected = published(house, undisturbed)
    assert {"safetensors", "pth", "pt2", "contact_sheet"} < set(expected)
    assert len(expected["metrics"]) >= 2
    assert published(house, job_id) == expected
    house.wait_until_swept()
