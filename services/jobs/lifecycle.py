"""The states of a job, the transitions between them, and the one function that makes them."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from services import tallies
from services.database.schema import Job, JobEvent, now
from services.tallies import Count, Time
from services.webhooks import outbox


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"  # its deadline passed before it started


TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.QUEUED: frozenset(
        {State.RUNNING, State.PAUSED, State.CANCELED, State.EXPIRED, State.FAILED}
    ),
    State.RUNNING: frozenset(
        {State.QUEUED, State.PAUSING, State.CANCELING, State.SUCCEEDED, State.FAILED}
    ),
    State.PAUSING: frozenset(
        {State.PAUSED, State.RUNNING, State.CANCELING, State.SUCCEEDED, State.FAILED}
    ),
    State.PAUSED: frozenset({State.QUEUED, State.CANCELED}),
    State.CANCELING: frozenset({State.CANCELED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset({State.QUEUED}),
    State.CANCELED: frozenset({State.QUEUED}),
    State.EXPIRED: frozenset(),
}

TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELED, State.EXPIRED})
# A job process has it, or had it until it died.
HELD = frozenset({State.RUNNING, State.PAUSING, State.CANCELING})


def move(
    session: Session,
    job_id: str,
    to: State,
    *,
    sources: Collection[State] = tuple(State),
    fence: int | None = None,
    values: Mapping[str, Any] | None = None,
) -> Job | None:
    """Bring the job into state `to`, set `values`, and write the event: one UPDATE, one INSERT.

    The owner's webhooks are told of an end in the same transaction: what the job has made is
    stored before.

    Returns None, and changes nothing, unless the job stands in one of `sources` from which
    TRANSITIONS leads to `to` and, where `fence` is given, its token is still that.
    """
    allowed = [source for source in sources if to in TRANSITIONS[source]]
    statement = update(Job).where(Job.id == job_id, Job.state.in_(allowed))
    if fence is not None:
        statement = statement.where(Job.token == fence)
    changes = {**(values or {}), "state": to.value, "last_seq": Job.last_seq + 1}
    job = session.scalars(
        statement.values(changes).returning(Job),
        execution_options={"synchronize_session": False, "populate_existing": True},
    ).one_or_none()
    if job is not None:
        _insert_event(session, job, "state", _describe(job))
        if to in TERMINAL:
            _count_end(session, job)
            outbox.tell_end(session, job)
    return job


def record(
    session: Session, job_id: str, kind: str, content: dict[str, Any], *, fence: int | None = None
) -> bool:
    """Append an event to the job's log; False if its token is no longer `fence`."""
    statement = update(Job).where(Job.id == job_id).values(last_seq=Job.last_seq + 1)
    if fence is not None:
        statement = statement.where(Job.token == fence)
    job = session.scalars(
        statement.returning(Job),
        execution_options={"synchronize_session": False, "populate_existing": True},
    ).one_or_none()
    if job is None:
        return False
    _insert_event(session, job, kind, content)
    return True


def insert(session: Session, job: Job) -> None:
    """Store a new job with the first event of its log."""
    job.last_seq = 1
    session.add(job)
    session.flush()
    _insert_event(session, job, "state", _describe(job))


def _count_end(session: Session, job: Job) -> None:
    code = job.error["code"] if job.state == State.FAILED and job.error else ""
    tallies.count(session, Count.JOBS_ENDED, type=job.type, state=job.state, code=code)
    if job.started is not None:
        tallies.measure(session, Time.RUN, job.run_seconds, type=job.type)


def _describe(job: Job) -> dict[str, Any]:
    content: dict[str, Any] = {"state": job.state, "attempt": job.attempt}
    if job.error is not None:
        content["error"] = job.error
    return content


def _insert_event(session: Session, job: Job, kind: str, content: dict[str, Any]) -> None:
    session.add(
        JobEvent(job_id=job.id, seq=job.last_seq, kind=kind, content=content, created=now())
    )
    session.flush()
