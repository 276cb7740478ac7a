"""A process that is stopped for longer than its lease, and goes on, writes nothing any more."""

import json
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from services.database.schema import Artifact
from services.jobs import queries
from services.settings import Settings

STAMPING = (str(Path(__file__).with_name("stamping.py")),)
STEPS = 150
SAMPLES = 5  # steps from one to the next


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A lease that is soon over."""
    return settings.model_copy(update={"heartbeat_seconds": 0.5, "lease_seconds": 4.0})


def test_what_was_stopped_beyond_its_lease_writes_nothing(house, count, chance, figures):
    with figures(
        "4", "SIGSTOP beyond the lease, then SIGCONT", count(short=1, full=30)
    ) as scenario:
        for _ in range(2):
            house.worker(STAMPING)
        for number in range(scenario.count):
            # The first is the hardest: nobody is left who could kill the stopped process.
            whom = "both" if number == 0 else chance.choice(("job", "worker", "both", "both"))
            job_id = house.submit(f"steps={STEPS} samples={SAMPLES}")
            house.wait_for_step(job_id, chance.randint(5, 40))
            stopped = _stop(house, house.process(job_id), whom)
            began, token = time.monotonic(), house.job(job_id).token
            if whom == "worker":  # the job goes on and renews its lease
                time.sleep(1.5 * house.installation.settings.lease_seconds)
            else:
                house.wait(job_id, lambda job, token=token: job.token > token)
                scenario.time("taken back", time.monotonic() - began)
            time.sleep(chance.uniform(0, 2.5))  # wakes before, while and after another has the job
            for process in stopped:
                with suppress(psutil.NoSuchProcess):  # its supervisor has ended it
                    process.resume()
            job = house.wait_for_end(job_id)
            if whom != "worker":
                _end(scenario, stopped[0], job_id)
            if job.state != "succeeded":
                scenario.violate(f"{job_id} ({whom} stopped) is {job.state}: {job.error}")
                continue
            for fault in _stale_writes(house, job_id):
                scenario.violate(f"{job_id} ({whom} stopped): {fault}")


def _stop(house, process: psutil.Process, whom: str) -> list[psutil.Process]:
    """Stop them, on SQLite outside their transactions: its lock stays with who is stopped in one.

    Nobody could take the job back before that one goes on. PostgreSQL forgets a transaction that
    stands still.
    """
    victims = {
        "job": [process],
        "worker": [process.parent()],
        "both": [process, process.parent()],
    }[whom]
    while True:
        for victim in victims:
            victim.suspend()
        settings = house.installation.settings
        if settings.database_url is not None or _can_be_written(settings):
            return victims
        for victim in victims:
            victim.resume()
        time.sleep(0.1)


def _can_be_written(settings: Settings) -> bool:
    patience = settings.lease_seconds / 4
    file = settings.home_folder / "mdf.sqlite"
    with closing(sqlite3.connect(file, timeout=patience, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True


def _end(scenario, process: psutil.Process, job_id: str) -> None:
    """The stopped job process ends by itself, or its supervisor ends it."""
    try:
        process.wait(5)
    except psutil.TimeoutExpired:
        scenario.violate(f"the stopped process of {job_id} lives on")


def _stale_writes(house, job_id: str) -> list[str]:
    """What an attempt wrote after it had lost the job: all writes carry their attempt's token."""
    with house.installation.database.read() as session:
        artifacts = session.scalars(select(Artifact).where(Artifact.job_id == job_id)).all()
        metrics = queries.metrics(session, job_id)
        samples = queries.samples(session, job_id)
    if len(artifacts) != 1:
        return [f"{len(artifacts)} artifacts"]
    made = json.loads(house.installation.blobs.get(artifacts[0].blob))
    faults = []
    tokens = [token for _, token in made]
    if [step for step, _ in made] != list(range(1, STEPS + 1)) or tokens != sorted(tokens):
        faults.append(f"the result is not that of attempts one after another: {made}")
    written = [[row.step, int(row.content["token"])] for row in metrics]
    if written != made:
        faults.append(f"metrics {written} are not those of the result {made}")
    shown = [json.loads(house.installation.blobs.get(sample.blob)) for sample in samples]
    if shown != made[SAMPLES - 1 :: SAMPLES]:
        faults.append(f"samples {shown} are not those of the result {made}")
    reported = [
        int(event.content["metrics"]["token"]) for event in house.events(job_id, "progress")
    ]
    if reported != sorted(reported):
        faults.append(f"progress was reported by attempts {reported}")
    states = house.states(job_id)
    if states.count("succeeded") != 1 or states[-1] != "succeeded":
        faults.append(f"its states were {states}")
    return faults
