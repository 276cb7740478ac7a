"""The census: what is counted, over all owners."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from services import census
from services.access import LOCAL
from services.database.schema import Image, Job, Model, Worker, now
from services.installation import Installation
from services.jobs import submission
from services.phase1.recipe import DiscriminatorTraining
from services.usage import Use


def test_everything_is_counted(installation: Installation, seed_image: Image, model: Model) -> None:
    spec = DiscriminatorTraining.model_validate(
        {"seed_image_ids": [seed_image.id], "task": {"kind": "jpeg"}, "preset": "quick"}
    )
    with installation.database.write() as session:
        jobs = [submission.submit(session, spec, caller=LOCAL) for _ in range(5)]
        for job, code in zip(jobs, ("diverged", "diverged", "internal"), strict=False):
            session.execute(
                update(Job).where(Job.id == job.id).values(state="failed", error={"code": code})
            )
        session.execute(
            update(Job).where(Job.id == jobs[3].id).values(queued=now() - timedelta(seconds=90))
        )
        for name, job_id, silent in (("a", jobs[4].id, 1), ("b", None, 2), ("c", None, 3600)):
            session.add(
                Worker(
                    id=name,
                    host="h",
                    pid=1,
                    device="cpu",
                    job_id=job_id,
                    started=now(),
                    last_seen=now() - timedelta(seconds=silent),
                )
            )
    with installation.database.read() as session:
        counts = census.take(session)
        stored = {kind: use for kind, use in census.stored(session).items() if use.count}
    assert counts.jobs == {
        ("discriminator_training", "failed"): 3,
        ("discriminator_training", "queued"): 2,
    }
    assert [(worker.id, worker.job_id) for worker in counts.workers] == [
        ("a", jobs[4].id),
        ("b", None),
    ]
    assert stored.keys() == {"images", "models"}
    assert stored["images"] == Use(1, seed_image.size)
    assert stored["models"].size > 1000
    assert counts.oldest_queued_seconds == {
        "restore": 0,
        "prepare": 0,
        "train": pytest.approx(90, abs=10),
    }
    assert (counts.deliveries, counts.webhooks_disabled) == ({}, 0)
