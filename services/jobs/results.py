"""What jobs made: losses, models, data sets and evaluations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.database.schema import Dataset, Evaluation, Job, Loss, Model

# By the type of job, where what it makes stands, and as what; a restoration makes artifacts only.
_MAKES: Mapping[str, tuple[type[Loss | Model | Dataset | Evaluation], str]] = {
    "discriminator_training": (Loss, "loss_id"),
    "restoration_training": (Model, "model_id"),
    "dataset_import": (Dataset, "dataset_id"),
    "evaluation": (Evaluation, "evaluation_id"),
}


@dataclass(frozen=True)
class Made:
    """Ids of what a job made, if it made any."""

    loss_id: str | None = None
    model_id: str | None = None
    dataset_id: str | None = None
    evaluation_id: str | None = None


def of_jobs(session: Session, jobs: Sequence[Job]) -> dict[str, Made]:
    """What each of the jobs made, by its id; a data set stands here before it is ready, too."""
    made = {job.id: Made() for job in jobs}
    for kind, (table, name) in _MAKES.items():
        ids = [job.id for job in jobs if job.type == kind]
        if ids:
            query = select(table.job_id, table.id).where(table.job_id.in_(ids))
            for job_id, found in session.execute(query):
                if job_id is not None:
                    made[job_id] = Made(**{name: found})
    return made
