"""Backups made while jobs run, pictures come and go: each holds one state, whole, that goes on."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from services.access import LOCAL
from services.backup import back_up, restore
from services.database.schema import Artifact, Dataset, Image, Job, LossFile
from services.datasets import catalogue as datasets
from services.datasets import uploads
from services.datasets.source import Upload
from services.embedded.broker import EmbeddedRedis
from services.images import catalogue as images
from services.installation import Installation
from services.jobs.lifecycle import TERMINAL
from services.losses import catalogue as losses
from services.retention.references import References
from services.settings import Settings

STEPS = 60
JOB = f"steps={STEPS} step_seconds=0.05"


@pytest.fixture
def database_url() -> None:
    """SQLite: a backup is of the embedded stack."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """No attempt is lost here, however slowly a process starts."""
    return Settings(**settings.model_dump() | {"lease_seconds": 60})


class Traffic:
    """Threads that store and delete pictures, losses and archives all the time."""

    def __init__(self, installation: Installation, chance: random.Random) -> None:
        self.rounds = 0
        self.faults: list[BaseException] = []
        self._installation = installation
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(chance.random()),))
            for _ in range(2)
        ]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, chance: random.Random) -> None:
        try:
            while not self._stopping.is_set():
                self._go_round(chance)
                self.rounds += 1
        except BaseException as error:
            self.faults.append(error)

    def _go_round(self, chance: random.Random) -> None:
        database, blobs = self._installation.database, self._installation.blobs
        noise = np.random.default_rng(chance.randrange(8)).integers(0, 256, (64, 64, 3), np.uint8)
        content = {"safetensors": chance.randbytes(50_000)}
        with database.write() as session:
            image, _ = images.add(
                session, blobs, images.from_pixels(noise, {}), name="a.png", caller=LOCAL
            )
            files = losses.store(session, blobs, content)
            loss = losses.add_imported(session, caller=LOCAL, name="a", manifest={}, files=files)
            dataset, _ = uploads.create(
                session,
                self._installation,
                Upload(size=100_000),
                name="a",
                on_bad_file="skip",
                caller=LOCAL,
            )
        uploads.append(self._installation, dataset.id, 0, content["safetensors"], LOCAL)
        if chance.random() < 0.8:
            losses.delete(database, blobs, loss.id, LOCAL)
            datasets.delete(database, blobs, dataset.id, LOCAL)
            try:
                images.delete(database, blobs, image.id, LOCAL)
            except images.NotFoundError:  # the other thread had the same one, and was quicker
                return


def faults(installation: Installation) -> Iterator[str]:
    """What the rows name and the files do not hold."""
    with installation.database.read() as session:
        named = References.read(session).named
        digests = {
            row.blob: row.sha256
            for table in (Image, LossFile, Artifact)
            for row in session.scalars(select(table))
        }
    for key in sorted(named):
        if not installation.blobs.has(key):
            yield f"{key} is missing"
            continue
        content = installation.blobs.get(key)
        if sha256(content).hexdigest() != digests.get(key, sha256(content).hexdigest()):
            yield f"{key} is not what its row says"


@pytest.mark.slow
def test_a_backup_under_load_goes_on_elsewhere(
    house,
    installation: Installation,
    settings: Settings,
    tmp_path: Path,
    count: Callable[..., int],
    chance: random.Random,
    figures: Callable,
):
    for _ in range(2):
        house.worker()
    with figures("backup", "backup under load", count(short=1, full=30)) as scenario:
        with Traffic(installation, chance) as traffic:
            for number in range(scenario.count):
                running = house.submit(JOB)
                house.submit(JOB, announce=False)
                house.wait(running, lambda job: job.checkpoint is not None, seconds=60)
                time.sleep(chance.uniform(0, 1))
                archive, home = tmp_path / f"{number}.tar", tmp_path / f"home-{number}"
                began = time.monotonic()
                made = back_up(settings, archive)
                scenario.time("backup", time.monotonic() - began)
                copied = Settings(**settings.model_dump() | {"home": home})
                began = time.monotonic()
                restore(copied, archive)
                scenario.time("restore", time.monotonic() - began)
                restored = Installation.open(copied)
                for fault in [*made.missing, *made.damaged, *faults(restored)]:
                    scenario.violate(f"backup {number}: {fault}")
                scenario.figure("files", len(made.digests), at_least=3)
                if number < scenario.count - 1:
                    restored.close()
            scenario.figure("rounds of traffic", traffic.rounds, at_least=5)
        for fault in traffic.faults:
            scenario.violate(f"the traffic failed: {fault!r}")
        house.close()

        with restored.database.read() as session:
            jobs = {job.id: job for job in session.scalars(select(Job))}
            begun = [job for job in jobs.values() if job.checkpoint is not None]
            half = [
                dataset.id
                for dataset in session.scalars(select(Dataset))
                if sum(part.size for part in datasets.parts(session, dataset.id))
                not in (0, dataset.received)
            ]
        if half:
            scenario.violate(f"uploads are cut: {half}")
        scenario.figure("jobs with a checkpoint", len(begun), at_least=1)
        unfinished = [job.id for job in jobs.values() if job.state not in TERMINAL]
        broker = EmbeddedRedis(copied.broker_socket, home / "redis")
        broker.start()
        (tmp_path / "logs").mkdir()
        second = type(house)(restored, None, tmp_path / "logs")
        try:
            for _ in range(2):
                second.worker()
            for job_id in unfinished:
                ended = second.wait_for_end(job_id, seconds=120)
                if (ended.state, second.count(job_id)) != ("succeeded", [*range(1, STEPS + 1)]):
                    scenario.violate(f"{job_id} ended {ended.state} elsewhere")
                if ended.attempt != 1:
                    scenario.violate(f"{job_id} took {ended.attempt} attempts")
        finally:
            second.close()
            broker.stop()
            restored.close()
