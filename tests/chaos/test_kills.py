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
    "recipe": {"scales": 3, "max_size": 40, "min_size": 25, "factor": "auto", "iterations": 60, "lr_decay_at": 48, "width": 8},
}


def published(house, job_id: str) -> dict[str, str]:
    """Digests of everything that the job published; there is one loss, no more."""
    with house.installation.database.read() as session:
        loss = session.scalars(select(Loss).where(Loss.job_id == job_id)).one()
        files = session.scalars(select(LossFile).where(LossFile.loss_id == loss.id))
        sheet = queries.artifacts(session, job_id)
        return {file.format: file.sha256 for file in files} | {
            artifact.kind: artifact.sha256 for artifact in sheet
        }


@pytest.mark.slow
def test_a_killed_training_ends_once_with_the_bytes_of_one_never_interrupted(house, broker):
    worker = house.worker(WORKER)
    undisturbed = house.submit(**TRAINING)
    assert house.wait_for_end(undisturbed, seconds=120).state == "succeeded"
    expected = published(house, undisturbed)
    assert set(expected) == {"safetensors", "pth", "pt2", "contact_sheet"}

    job_id = house.submit(**TRAINING)
    house.wait(job_id, lambda job: job.progress is not None and job.checkpoint is not None)
    house.process(job_id).kill()

    house.wait(job_id, lambda job: job.attempt == 2 and job.state == "running")
    before = house.job(job_id).checkpoint
    house.wait(job_id, lambda job: job.checkpoint != before)
    os.kill(broker.pid, signal.SIGKILL)
    worker.kill()
    time.sleep(0.5)
    broker.start()
    house.worker(WORKER)

    job = house.wait_for_end(job_id, seconds=120)
    assert job.state == "succeeded"
    assert house.states(job_id) == [
        *("queued", "running", "queued", "running", "queued", "running", "succeeded")
    ]
    assert published(house, job_id) == expected
    assert house.installation.blobs.keys("checkpoints") == []


@pytest.mark.slow
def test_metrics_and_samples_of_a_killed_training_have_no_gaps_and_no_doubles(house):
    house.worker(WORKER)
    undisturbed, job_id = house.submit(**TRAINING), house.submit(**TRAINING)
    house.wait_for_end(undisturbed, seconds=120)
    house.wait(job_id, lambda job: job.progress is not None and job.checkpoint is not None)
    house.process(job_id).kill()
    assert house.wait_for_end(job_id, seconds=120).state == "succeeded"
    with house.installation.database.read() as session:
        metrics = [
            [(row.scale, row.step, row.content) for row in queries.metrics(session, name)]
            for name in (undisturbed, job_id)
        ]
        samples = [
            [(row.scale, row.step, row.kind) for row in queries.samples(session, name)]
            for name in (undisturbed, job_id)
        ]
    assert metrics[0] == metrics[1]
    assert samples[0] == samples[1]
    assert len(metrics[0]) >= 3
