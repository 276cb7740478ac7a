"""The API dies while clients submit: what it promised is there, and nothing is there twice."""

import time

import httpx
import pytest
from sqlalchemy import func, select

from services.database.schema import IdempotencyKey, Job
from services.settings import Settings
from tests.chaos.submitting import Clients


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As many jobs as the clients can submit may wait: none is worked on."""
    return settings.model_copy(update={"queued_jobs": 10**6, "max_queued_jobs": 10**6})


def test_what_the_api_accepted_before_it_was_killed_is_there_once(
    api, broker, installation, seed_image, count, chance, figures
):
    with figures("7", "API `kill -9` under submits", count(short=1, full=50)) as scenario:
        api.start()
        clients = Clients(api.url, seed_image.id, count=8, pause=0.02)
        try:
            for _ in range(scenario.count):
                time.sleep(chance.uniform(0.2, 2.0))
                api.kill()
                api.start()
            time.sleep(0.5)
        finally:
            clients.stop()
        with installation.database.read() as session:
            jobs = set(session.scalars(select(Job.id)))
            keys = session.scalar(select(func.count()).select_from(IdempotencyKey))
        for key, job_id in clients.accepted.items():
            if job_id not in jobs:
                scenario.violate(f"{job_id}, accepted under {key}, is not there")
        for fault in clients.faults:
            scenario.violate(fault)
        if not len(jobs) == keys == len(clients.accepted):
            scenario.violate(
                f"{len(jobs)} jobs and {keys} keys for {len(clients.accepted)} that were accepted"
            )
        for key, job_id in chance.sample(sorted(clients.accepted.items()), 5):
            again = httpx.post(
                f"{api.url}/v1/jobs", json=clients.body, headers={"Idempotency-Key": key}
            )
            if again.json()["id"] != job_id or "idempotency-replayed" not in again.headers:
                scenario.violate(f"{key} made {job_id}, and now {again.text}")
        scenario.figure("accepted", len(clients.accepted))
        scenario.figure("repeats", clients.repeats)
