"""Jobs without processes: rows, and what may be done with them."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from pydantic import SecretStr

from services.access import LOCAL, Caller
from services.database.schema import Image, Job
from services.installation import Installation
from services.jobs import claims, requests
from services.jobs.claims import Claim
from services.jobs.submission import submit
from services.phase1.recipe import DiscriminatorTraining
from services.settings import Settings


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Settings for each of the two databases."""
    if request.param == "sqlite":
        return settings
    url = request.getfixturevalue("postgresql")
    return settings.model_copy(update={"database_url": SecretStr(url)})


@pytest.fixture
def installation(settings: Settings) -> Iterator[Installation]:
    """An empty database with its tables, and blobs."""
    opened = Installation.open(settings)
    opened.database.migrate()
    yield opened
    if settings.database_url is not None:
        with opened.database.engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    opened.close()


class Desk:
    """Submits and claims jobs in one installation."""

    def __init__(self, installation: Installation, seed: Image) -> None:
        self.installation = installation
        self.seed = seed

    @property
    def spec(self) -> DiscriminatorTraining:
        """A small training on the seed."""
        return DiscriminatorTraining.model_validate(
            {"seed_image_ids": [self.seed.id], "task": {"kind": "sisr"}, "preset": "quick"}
        )

    def submit(self, **fields) -> Job:
        """A queued job."""
        with self.installation.database.write() as session:
            return submit(session, self.spec, caller=LOCAL, **fields)

    def claim(self, job: Job, *, lease: float = 30) -> Claim:
        """The job, claimed by a worker of another host."""
        wanted = Claim(job.id, self.job(job).token + 1)
        with self.installation.database.write() as session:
            assert claims.claim(
                session, wanted, holder="w", host="elsewhere", lease=timedelta(seconds=lease)
            )
        return wanted

    def ask(self, request, job: Job, **fields) -> Job:
        """One of `services.jobs.requests`."""
        with self.installation.database.write() as session:
            return request(session, job.id, LOCAL, **fields)

    def delete(self, job: Job, caller: Caller = LOCAL) -> int:
        """Delete the job; the bytes that this has freed."""
        return requests.delete(self.installation.database, self.installation.blobs, job.id, caller)

    def job(self, job: Job) -> Job:
        """The job's row as it is now."""
        with self.installation.database.read() as session:
            return session.get_one(Job, job.id)


@pytest.fixture
def desk(installation: Installation, seed_image: Image) -> Desk:
    """Submits and claims jobs."""
    return Desk(installation, seed_image)
