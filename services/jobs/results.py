"""What jobs made: losses, models, data sets and evaluations."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.database.schema import Dataset, Evaluation
from services.losses import catalogue as losses
from services.restorers import catalogue as models


@dataclass(frozen=True)
class Made:
    """Ids of what a job made, if it made any."""

    loss_id: str | None = None
    model_id: str | None = None
    dataset_id: str | None = None
    evaluation_id: str | None = None


def of_jobs(session: Session, job_ids: Collection[str]) -> dict[str, Made]:
    """What each of the jobs made; a data set stands here before it is ready, too."""
    made_losses = losses.of_jobs(session, job_ids)
    made_models = models.of_jobs(session, job_ids)
    query = select(Dataset.job_id, Dataset.id).where(Dataset.job_id.in_(job_ids))
    datasets = {row.job_id: row.id for row in session.execute(query)}
    query = select(Evaluation.job_id, Evaluation.id).where(Evaluation.job_id.in_(job_ids))
    evaluations = {row.job_id: row.id for row in session.execute(query)}
    return {
        job_id: Made(
            made_losses.get(job_id),
            made_models.get(job_id),
            datasets.get(job_id),
            evaluations.get(job_id),
        )
        for job_id in job_ids
    }
