"""Counts over the whole installation, for operators; no names and no owners."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.access import Caller
from services.database.schema import Dataset, Image, Job, Loss, Model, Worker, now
from services.jobs.lifecycle import State

# A slot gives a sign of life every few seconds; after this long it is gone.
WORKER_SILENCE = timedelta(minutes=1)


@dataclass(frozen=True)
class Census:
    """How much of everything there is now."""

    jobs: Mapping[tuple[str, str], int]  # by type and state
    failures: Mapping[str, int]  # failed jobs by their error's code
    workers: int
    busy_workers: int
    images: int
    datasets: int
    losses: int
    models: int
    oldest_queued_seconds: float


def take(session: Session) -> Census:
    """Count."""
    jobs = session.execute(select(Job.type, Job.state, func.count()).group_by(Job.type, Job.state))
    code = Job.error["code"].as_string()
    failures = session.execute(
        select(code, func.count()).where(Job.state == State.FAILED).group_by(code)
    )
    oldest = session.scalar(select(func.min(Job.queued)).where(Job.state == State.QUEUED))
    alive = Worker.last_seen > now() - WORKER_SILENCE
    return Census(
        jobs={(job_type, state): count for job_type, state, count in jobs},
        failures={name or "internal": count for name, count in failures},
        workers=session.scalar(select(func.count()).where(alive)) or 0,
        busy_workers=session.scalar(select(func.count()).where(alive, Worker.job_id.is_not(None)))
        or 0,
        images=session.scalar(select(func.count(Image.id))) or 0,
        datasets=session.scalar(select(func.count(Dataset.id))) or 0,
        losses=session.scalar(select(func.count(Loss.id))) or 0,
        models=session.scalar(select(func.count(Model.id))) or 0,
        oldest_queued_seconds=(now() - oldest).total_seconds() if oldest else 0.0,
    )


def workers(session: Session, caller: Caller) -> list[tuple[Worker, str | None]]:
    """The slots that are alive, each with its job if the caller may see that."""
    query = select(Worker).where(Worker.last_seen > now() - WORKER_SILENCE).order_by(Worker.id)
    slots = list(session.scalars(query))
    visible = set(
        session.scalars(
            select(Job.id).where(
                Job.id.in_([slot.job_id for slot in slots if slot.job_id]), caller.sees(Job.owner)
            )
        )
    )
    return [(slot, slot.job_id if slot.job_id in visible else None) for slot in slots]
