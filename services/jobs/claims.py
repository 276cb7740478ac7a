"""Who runs a job: claiming it, keeping it, and ending the attempt.

A claim raises the job's fencing token and so does every end of an attempt. A write of a job
process names the token it was given: where the token has moved on, it changes nothing.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from services import tallies
from services.database.schema import Job, now
from services.jobs import lifecycle, turns
from services.jobs.failures import DeadlineExceededError, describe, worker_lost
from services.jobs.lifecycle import HELD, State
from services.tallies import Count, Time

# Until its first step a process may not be able to renew its lease for long: torch comes from a
# cold disk, and a GPU wakes, in calls that hold the whole interpreter.
_STARTING = timedelta(minutes=3)


class StaleRunError(Exception):
    """The job has been taken from this run: it must end at once and write nothing."""


@dataclass(frozen=True)
class Claim:
    """The right to run one attempt of a job."""

    job_id: str
    token: int


def first_lease(lease: timedelta) -> timedelta:
    """The lease of an attempt that has not made its first step."""
    return max(lease, _STARTING)


def candidate(session: Session, queue: str) -> Claim | None:
    """The claim to try next: the job in front of the line of the owner whose turn it is."""
    for owner in turns.owners(session, queue):
        head = turns.head(session, queue, owner.name)
        if head is None or (head.running_cap is not None and owner.active >= head.running_cap):
            continue
        return Claim(job_id=head.id, token=head.token + 1)
    return None


def claim(
    session: Session, wanted: Claim, *, holder: str, host: str, lease: timedelta
) -> Job | None:
    """Take the job for this holder; None if somebody else was quicker or it is not queued.

    None too if its owner has as many running by now as the job allows.
    """
    moment = now()
    queued = session.get(Job, wanted.job_id)
    if queued is None or not turns.may_start(session, queued):
        return None
    job = lifecycle.move(
        session,
        wanted.job_id,
        State.RUNNING,
        sources=(State.QUEUED,),
        fence=wanted.token - 1,
        values={
            "token": wanted.token,
            "attempt": Job.attempt + 1,
            "lease_holder": holder,
            "lease_host": host,
            "lease_expires": moment + lease,
        },
    )
    if job is None:
        return None
    turns.end_turn(session, job)
    tallies.count(session, Count.CLAIMS, type=job.type)
    if job.started is None:
        job.started = moment
        waited = (moment - job.queued).total_seconds()
        tallies.measure(session, Time.WAIT, waited, type=job.type)
    return job


def renew(session: Session, held: Claim, *, lease: timedelta, ran: float) -> Job:
    """Show a sign of life: extend the lease and add `ran` seconds; returns the job's row."""
    job = session.scalars(
        update(Job)
        .where(Job.id == held.job_id, Job.token == held.token)
        .values(lease_expires=now() + lease, run_seconds=Job.run_seconds + ran)
        .returning(Job),
        execution_options={"synchronize_session": False, "populate_existing": True},
    ).one_or_none()
    if job is None:
        raise StaleRunError(held.job_id)
    return job


def succeed(session: Session, held: Claim) -> Job | None:
    """End the attempt with a result; None if the job was canceled in the meantime.

    The caller publishes the result in the same transaction.
    """
    job = lifecycle.move(
        session,
        held.job_id,
        State.SUCCEEDED,
        fence=held.token,
        values={**_ended(held), "finished": now(), "error": None, "checkpoint": None},
    )
    if job is None and not holds(session, held):
        raise StaleRunError(held.job_id)
    return job


def fail(session: Session, held: Claim, error: dict[str, Any]) -> Job:
    """End the attempt and the job with an error; a job being canceled ends canceled."""
    values = {**_ended(held), "finished": now()}
    job = lifecycle.move(
        session, held.job_id, State.FAILED, fence=held.token, values={**values, "error": error}
    ) or lifecycle.move(session, held.job_id, State.CANCELED, fence=held.token, values=values)
    if job is None:
        raise StaleRunError(held.job_id)
    return job


def release(
    session: Session,
    held: Claim,
    *,
    lost: bool,
    max_attempts: int,
    unless_renewed: bool = False,
) -> Job | None:
    """End the attempt without a result; None if it has ended before.

    With `unless_renewed`, for who knows of its death by the end of its lease alone, None too if
    the lease has not run out: since the caller looked, it has shown a sign of life.

    What was asked of the job is settled: it ends `canceled` or `paused`. Otherwise it goes
    back into the queue, or fails once `max_attempts` attempts in a row were lost without a
    step forward. An attempt that was not `lost` but given back does not count.
    """
    job = session.get(Job, held.job_id, with_for_update=True, populate_existing=True)
    if job is None or job.token != held.token or job.state not in HELD:
        return None
    if unless_renewed and job.lease_expires is not None and job.lease_expires > now():
        return None
    values = _ended(held)
    if lost:
        tallies.count(session, Count.ATTEMPTS_LOST, type=job.type)
        values["lost_attempts"] = job.lost_attempts + 1
    else:
        values["attempt"] = job.attempt - 1
    return _settle(session, job, values, exhausted=lost and job.lost_attempts + 1 >= max_attempts)


def _settle(session: Session, job: Job, values: dict[str, Any], *, exhausted: bool) -> Job | None:
    moment = now()
    error = None
    match State(job.state):
        case State.CANCELING:
            to = State.CANCELED
        case State.PAUSING:
            to = State.PAUSED
        case _ if job.deadline is not None and job.deadline <= moment:
            to, error = State.FAILED, describe(DeadlineExceededError())
        case _ if exhausted:
            to, error = State.FAILED, worker_lost(job.lost_attempts + 1)
        case _:
            to = State.QUEUED  # keeps its place in line
            values["announced"] = None
    if to in lifecycle.TERMINAL:
        values["finished"] = moment
    if error is not None:
        values["error"] = error
    return lifecycle.move(session, job.id, to, fence=job.token, values=values)


def overdue_jobs(count: int) -> Select[str]:
    """Ids of some queued jobs whose deadline has passed, `count` at most.

    In one order for all: two that end them one after another never wait for each other.
    """
    overdue = select(Job.id).where(Job.state == State.QUEUED, turns.overdue(now()))
    return overdue.order_by(Job.id).limit(count)


def expire(session: Session, job_id: str) -> Job | None:
    """End a queued job whose deadline has passed: it expired, unless it had been started."""
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None or job.state != State.QUEUED or job.deadline is None or job.deadline > now():
        return None
    values: dict[str, Any] = {"finished": now()}
    if job.started is None:
        return lifecycle.move(session, job_id, State.EXPIRED, values=values)
    values["error"] = describe(DeadlineExceededError())
    return lifecycle.move(session, job_id, State.FAILED, values=values)


def held_jobs() -> Select[str, int, str | None, datetime | None]:
    """The attempts that are under way or died: id, token, host and end of the lease."""
    return select(Job.id, Job.token, Job.lease_host, Job.lease_expires).where(Job.state.in_(HELD))


def holds(session: Session, held: Claim) -> bool:
    """Whether the attempt has not ended."""
    return session.scalar(select(Job.token).where(Job.id == held.job_id)) == held.token


def _ended(held: Claim) -> dict[str, Any]:
    return {
        "token": held.token + 1,
        "lease_holder": None,
        "lease_host": None,
        "lease_expires": None,
    }
