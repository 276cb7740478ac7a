"""Which files the rows of the database refer to."""

from dataclasses import dataclass
from typing import Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.database.schema import (
    Artifact,
    Dataset,
    DatasetImage,
    DatasetPart,
    DatasetReservation,
    Image,
    Job,
    JobSample,
    LossFile,
    ModelFile,
)
from services.datasets.catalogue import image_key
from services.jobs import parts
from services.jobs.lifecycle import TERMINAL, State

_NAMING = (
    Image.blob,
    Job.checkpoint,
    JobSample.blob,
    Artifact.blob,
    LossFile.blob,
    ModelFile.blob,
    Dataset.sheet,
    DatasetPart.blob,
    DatasetImage.blob,
)
# Whose files have names that tell their job, and are made before the rows that name them.
_OF_JOBS = frozenset({"checkpoints", "samples", "artifacts"})
_OF_ROWS = frozenset({"images", "losses", "models", "uploads"})
FOLDERS = _OF_JOBS | _OF_ROWS | {"datasets", "sheets", parts.FOLDER}


@dataclass(frozen=True)
class References:
    """What one state of the database refers to.

    `named` stand in rows. `reserved` are stored by unfinished imports, whose rows come at the
    end. `unfinished` jobs look after their own files; `unpublished` ones have parts of a result.
    """

    named: frozenset[str]
    reserved: frozenset[str]
    jobs: frozenset[str]
    unfinished: frozenset[str]
    unpublished: frozenset[str]
    datasets: frozenset[str]

    @classmethod
    def read(cls, session: Session) -> Self:
        """Of the database as it is."""
        states = {job.id: job.state for job in session.execute(select(Job.id, Job.state))}
        named = {
            key
            for column in _NAMING
            for key in session.scalars(select(column).where(column.is_not(None)))
            if key is not None
        }
        reserved = session.scalars(select(DatasetReservation.digest).distinct())
        return cls(
            named=frozenset(named),
            reserved=frozenset(map(image_key, reserved)),
            jobs=frozenset(states),
            unfinished=frozenset(job for job, state in states.items() if state not in TERMINAL),
            unpublished=frozenset(job for job, state in states.items() if state != State.SUCCEEDED),
            datasets=frozenset(session.scalars(select(Dataset.id))),
        )

    def accounts_for(self, key: str) -> bool:
        """Whether the file of that key is in use, or of a job that this database knows."""
        folder, _, rest = key.partition("/")
        of_job = folder in _OF_JOBS or folder == parts.FOLDER
        return self.needs(key) or (of_job and rest.partition("/")[0] in self.jobs)

    def needs(self, key: str) -> bool:
        """Whether the file of that key is in use, or is none that this service has made."""
        folder, _, rest = key.partition("/")
        if key in self.named:
            return True
        owner = rest.partition("/")[0]
        match folder:
            case "datasets":
                return key in self.reserved
            case "sheets":
                return owner.partition(".")[0] in self.datasets
            case parts.FOLDER:
                return owner in self.unpublished
            case _ if folder in _OF_JOBS:
                return owner in self.unfinished
            case _:
                return folder not in _OF_ROWS
