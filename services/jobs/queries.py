"""Reading jobs: the rows, their logs, metrics, samples and artifacts, and their place in line."""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select
from sqlalchemy.orm import Session

from services.access import Caller
from services.database.schema import Artifact, Job, JobEvent, JobMetric, JobSample
from services.errors import NotFoundError
from services.jobs import turns
from services.jobs.lifecycle import HELD, TERMINAL, State
from services.listing import Page, newest_first


def get(session: Session, job_id: str, caller: Caller, *, for_update: bool = False) -> Job:
    """The job, if the caller may see it; `for_update` keeps others from changing it meanwhile."""
    query = select(Job).where(Job.id == job_id, caller.sees(Job.owner))
    if for_update:
        query = query.with_for_update()
    job = session.scalar(query, execution_options={"populate_existing": True})
    if job is None:
        raise NotFoundError(f"no job {job_id}")
    return job


def list_jobs(
    session: Session,
    caller: Caller,
    *,
    state: State | None = None,
    type: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Job]:
    """The jobs that the caller may see, newest first."""
    query = select(Job).where(caller.sees(Job.owner))
    if state is not None:
        query = query.where(Job.state == state)
    if type is not None:
        query = query.where(Job.type == type)
    return newest_first(session, query, Job.id, limit=limit, cursor=cursor)


def list_active(session: Session, caller: Caller, *, limit: int = 50) -> list[Job]:
    """The jobs that have not ended, those that run first, then those that wait longest."""
    waits = case((Job.state.in_(HELD), 0), else_=1)
    query = select(Job).where(caller.sees(Job.owner), Job.state.not_in(TERMINAL))
    return list(session.scalars(query.order_by(waits, Job.queued, Job.id).limit(limit)))


def list_ended(session: Session, caller: Caller, *, limit: int = 50) -> list[Job]:
    """The jobs that have ended, the last one first."""
    query = select(Job).where(caller.sees(Job.owner), Job.state.in_(TERMINAL))
    return list(session.scalars(query.order_by(Job.finished.desc(), Job.id.desc()).limit(limit)))


def events_after(session: Session, job_id: str, seq: int, limit: int = 1000) -> list[JobEvent]:
    """The job's events that follow number `seq`, in order."""
    query = (
        select(JobEvent)
        .where(JobEvent.job_id == job_id, JobEvent.seq > seq)
        .order_by(JobEvent.seq)
        .limit(limit)
    )
    return list(session.scalars(query))


def events_before(
    session: Session,
    job_id: str,
    seq: int | None = None,
    *,
    kinds: Collection[str] | None = None,
    limit: int = 50,
) -> list[JobEvent]:
    """The last events of the job, or the last ones before number `seq`, in order."""
    query = select(JobEvent).where(JobEvent.job_id == job_id)
    if seq is not None:
        query = query.where(JobEvent.seq < seq)
    if kinds is not None:
        query = query.where(JobEvent.kind.in_(kinds))
    return list(session.scalars(query.order_by(JobEvent.seq.desc()).limit(limit)))[::-1]


def last_seqs(session: Session, job_ids: Collection[str]) -> dict[str, int]:
    """Number of the last event of each job that is there: one query for all who follow."""
    query = select(Job.id, Job.last_seq).where(Job.id.in_(job_ids))
    return {row.id: row.last_seq for row in session.execute(query)}


def metrics(
    session: Session,
    job_id: str,
    *,
    keys: Collection[str] | None = None,
    scale: int | None = None,
    after_step: int | None = None,
    max_points: int | None = None,
) -> list[JobMetric]:
    """The job's metrics in order; of many, `max_points` evenly apart with the first and last.

    With `keys`, the rows returned hold only those values and are detached from the session.
    """
    conditions = [JobMetric.job_id == job_id]
    if scale is not None:
        conditions.append(JobMetric.scale == scale)
    if after_step is not None:
        conditions.append(JobMetric.step > after_step)
    query = select(JobMetric).where(*conditions)
    if max_points is not None:
        query = _thinned(session, conditions, max_points)
    rows = list(session.scalars(query.order_by(JobMetric.scale, JobMetric.step)))
    if keys is not None:
        for row in rows:
            session.expunge(row)
            row.content = {key: row.content[key] for key in keys if key in row.content}
    return rows


def samples(session: Session, job_id: str) -> list[JobSample]:
    """The pictures made so far, in order."""
    query = select(JobSample).where(JobSample.job_id == job_id)
    return list(session.scalars(query.order_by(JobSample.scale, JobSample.step, JobSample.kind)))


def artifacts(session: Session, job_id: str) -> list[Artifact]:
    """The files that the job published."""
    query = select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.kind)
    return list(session.scalars(query))


def queue_positions(session: Session, jobs: Sequence[Job]) -> dict[str, int]:
    """Places of those that are queued in their queues, by job; the next one's is 1."""
    return turns.positions(session, [job for job in jobs if job.state == State.QUEUED])


def eta_seconds(session: Session, job: Job) -> float | None:  # noqa: ARG001
    """Seconds until the job is done, by its own speed; None before that is known."""
    if job.state != State.RUNNING or job.progress is None:
        return None
    eta = job.progress.get("eta_seconds")
    return None if eta is None else float(eta)


def _thinned(
    session: Session, conditions: list[ColumnElement[bool]], max_points: int
) -> Select[JobMetric]:
    total = session.scalar(select(func.count()).select_from(JobMetric).where(*conditions)) or 0
    # `stride` is the smallest that leaves at most `max_points`, the last one included.
    stride = max(1, -(-(total - 1) // max(1, max_points - 1)))
    place = func.row_number().over(order_by=(JobMetric.scale, JobMetric.step)).label("place")
    numbered = select(JobMetric.scale, JobMetric.step, place).where(*conditions).subquery()
    kept = or_((numbered.c.place - 1) % stride == 0, numbered.c.place == total)
    return (
        select(JobMetric)
        .join(
            numbered,
            and_(JobMetric.scale == numbered.c.scale, JobMetric.step == numbered.c.step),
        )
        .where(*conditions, kept)
    )
