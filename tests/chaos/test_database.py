"""PostgreSQL dies or stands still: jobs that run go on, and what was accepted is done once."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from pydantic import SecretStr

from services.jobs.lifecycle import TERMINAL
from services.settings import Settings
from tests.chaos.submitting import Clients
from tests.postgresql import Server

RESUMES_SECONDS = 15.0


@pytest.fixture
def database_url(postgresql: Server) -> Iterator[SecretStr]:
    """On PostgreSQL, whatever the others run on."""
    with postgresql.database("outages") as url:
        yield SecretStr(url)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Clients may submit however much; a checkpoint each second."""
    changes = {"queued_jobs": 10**6, "max_queued_jobs": 10**6, "checkpoint_seconds": 1.0}
    return settings.model_copy(update=changes)


def test_a_database_that_dies_or_stands_still_loses_no_job(
    house, api, postgresql: Server, journal, audit, seed_image, count, chance, figures
):
    api.start()
    for _ in range(3):
        house.worker()
    clients = Clients(api.url, seed_image.id, count=2, pause=5.0, name="steps=2")
    jobs = []
    try:
        with figures("17", "PostgreSQL `kill -9`", count(short=1, full=20)) as killed:
            for _ in range(killed.count):
                with _outage(house, api, killed, jobs):
                    time.sleep(chance.uniform(0, 2))
                    postgresql.kill()
                    time.sleep(chance.uniform(0, 5))
                    postgresql.start()
        seconds = 40 if figures.form == "full" else 3  # longer than a lease
        with figures("17", f"PostgreSQL silent for {seconds} s", count(short=1, full=5)) as silent:
            for _ in range(silent.count):
                with _outage(house, api, silent, jobs):
                    time.sleep(chance.uniform(0, 2))
                    with postgresql.standing_still():
                        time.sleep(seconds)
    finally:
        clients.stop()
    with figures("17", "… and all is there once", len(jobs) + len(clients.accepted)) as whole:
        for fault in clients.faults:
            whole.violate(fault)
        jobs += clients.accepted.values()
        if len(set(jobs)) != len(jobs):
            whole.violate("two keys have one job")
        for job_id in jobs:
            house.wait_for_end(job_id)
        for fault in audit(jobs):
            whole.violate(fault)
        for job_id in jobs:
            whole.time("work lost", 0.0, *journal.lost_work(job_id), max=1.0)
        whole.figure("attempts that were lost", sum(house.job(job).attempt - 1 for job in jobs))
        whole.figure("requests made again", clients.repeats)


@contextmanager
def _outage(house, api, scenario, jobs: list[str]) -> Iterator[None]:
    """What happens in the block happens while a job runs; then it and the API go on soon."""
    job_id = house.submit("steps=400", priority=5)
    jobs.append(job_id)
    house.wait_for_step(job_id, 1)
    yield
    back = time.monotonic()
    seen = house.job(job_id).progress["step"]
    house.wait(job_id, lambda job: job.state in TERMINAL or job.progress["step"] > seen)
    scenario.time("the job goes on", time.monotonic() - back, max=RESUMES_SECONDS)
    while httpx.get(f"{api.url}/v1/jobs?limit=1", timeout=60).status_code != 200:
        time.sleep(0.05)
    scenario.time("the API answers", time.monotonic() - back, max=RESUMES_SECONDS)
    job = house.wait_for_end(job_id, seconds=120)
    if job.attempt != 1:
        scenario.violate(f"{job_id} was taken from a process that lives")
