"""What an owner asks of a job: cancel, pause, resume, finish, retry, change, delete.

A request to a running job is noted in its row, and the job process acts on it within a
second. Where no process has the job, or the one that had it shows no sign of life any more,
the request is settled at once.

An action whose effect stands already, such as a second cancel, returns the job as it is.
"""

from collections.abc import Callable
from typing import Any, NoReturn

from sqlalchemy import delete as delete_rows
from sqlalchemy.orm import Session

from services import quotas
from services.access import Caller
from services.blobs import Blobs
from services.database import Database
from services.database.schema import Job, now
from services.errors import BadInputError, ConflictError
from services.jobs import claims, files, lifecycle, queries
from services.jobs.admission import admit
from services.jobs.claims import Claim
from services.jobs.lifecycle import TERMINAL, State
from services.jobs.specs import FINISHABLE, spec_of

Request = Callable[[Session, str, Caller], Job]


def ask(session: Session, blobs: Blobs, request: Request, job_id: str, caller: Caller) -> Job:
    """Make one of the requests below, as a person does.

    Raises: DiskFullError where less disk is free than must stay so and the job would be taken up
    again. Those that end it, which frees some, are heard all the same.
    """
    if request in (resume, retry):
        blobs.check_free()
    return request(session, job_id, caller)


def cancel(session: Session, job_id: str, caller: Caller) -> Job:
    """End the job without a result."""
    job = queries.get(session, job_id, caller, for_update=True)
    match State(job.state):
        case State.CANCELED | State.CANCELING:
            return job
        case State.QUEUED | State.PAUSED:
            return _move(session, job, State.CANCELED, {"finished": now()})
        case State.RUNNING | State.PAUSING:
            job = _move(session, job, State.CANCELING, {"desired_state": "cancel"})
            return _settle_if_dead(session, job)
        case _:
            _refuse(job, "canceled", "it has ended")


def pause(session: Session, job_id: str, caller: Caller) -> Job:
    """Stop the job after a checkpoint, until it is resumed."""
    job = queries.get(session, job_id, caller, for_update=True)
    match State(job.state):
        case State.PAUSED | State.PAUSING:
            return job
        case State.QUEUED:
            return _move(session, job, State.PAUSED)
        case State.RUNNING:
            job = _move(session, job, State.PAUSING, {"desired_state": "pause"})
            return _settle_if_dead(session, job)
        case _:
            _refuse(job, "paused", "only a queued or running job can be")


def resume(session: Session, job_id: str, caller: Caller) -> Job:
    """Let a paused job go on from its checkpoint, if its owner may store more."""
    job = queries.get(session, job_id, caller, for_update=True)
    return _go_on(session, job, caller, "run", "resumed")


def finish(session: Session, job_id: str, caller: Caller) -> Job:
    """Make a valid result of what is done, and end.

    A loss has at least one scale, trained to its end; a model is the best so far. An owner who
    may store no more may do so too: it ends the job, and keeps what it has done.
    """
    job = queries.get(session, job_id, caller, for_update=True)
    if job.type not in FINISHABLE:
        _refuse(job, "finished early", f"a {job.type} job is done or not: cancel it instead")
    match State(job.state):
        case State.QUEUED | State.RUNNING:
            if job.desired_state != "finish":
                job.desired_state = "finish"
                session.flush()
                lifecycle.record(session, job.id, "log", {"message": "asked to finish early"})
            return job
        case _:
            return _go_on(session, job, caller, "finish", "finished early")


def retry(session: Session, job_id: str, caller: Caller) -> Job:
    """Queue a failed or canceled job again; it resumes from its last checkpoint, if any."""
    job = queries.get(session, job_id, caller, for_update=True)
    if job.state not in {State.FAILED, State.CANCELED}:
        _refuse(job, "retried", "only a failed or canceled job can be")
    if job.deadline is not None and job.deadline <= now():
        _refuse(job, "retried", "its deadline has passed: submit it again with a later one")
    try:
        admit(session, spec_of(job), caller)
    except BadInputError as error:
        raise ConflictError(f"job {job.id} cannot be retried: {error.message}") from None
    owner = caller.acting_for(job.owner)
    quotas.check_queue(session, owner)
    quotas.check_storage(session, owner, 0)
    fresh = {"attempt": 0, "lost_attempts": 0, "error": None, "finished": None}
    return _move(session, job, State.QUEUED, fresh | {"desired_state": "run"} | _queued_now())


def change(
    session: Session,
    job_id: str,
    caller: Caller,
    *,
    name: str | None = None,
    priority: int | None = None,
) -> Job:
    """Rename the job, or set its place among the queued ones: a higher priority runs first."""
    job = queries.get(session, job_id, caller, for_update=True)
    if name is not None:
        job.name = name
    if priority is not None:
        job.priority = priority
    session.flush()
    return job


def delete(database: Database, blobs: Blobs, job_id: str, caller: Caller) -> int:
    """Forget a job that has ended, with its events, metrics, samples and artifacts.

    A loss, model or data set that it published stays.

    Returns: how many bytes that has freed.
    """
    with database.write() as session:
        job = queries.get(session, job_id, caller, for_update=True)
        if job.state not in TERMINAL:
            _refuse(job, "deleted", "cancel it first")
        session.expunge(job)
        session.execute(delete_rows(Job).where(Job.id == job_id))
    # After the commit: no row may be left without its files.
    return files.delete(blobs, job_id)


def _go_on(session: Session, job: Job, caller: Caller, desired: str, done: str) -> Job:
    owner = caller.acting_for(job.owner)
    if desired == "run" and job.state in {State.PAUSED, State.PAUSING}:
        quotas.check_storage(session, owner, 0)
    match State(job.state):
        case State.PAUSED:
            quotas.check_queue(session, owner)
            return _move(session, job, State.QUEUED, {"desired_state": desired} | _queued_now())
        case State.PAUSING:
            # The process may have stopped already: then the job is queued again when it ends.
            return _move(session, job, State.RUNNING, {"desired_state": desired})
        case _:
            _refuse(job, done, "it is not paused" if desired == "run" else "it has ended")


def _settle_if_dead(session: Session, job: Job) -> Job:
    if job.lease_expires is not None and job.lease_expires > now():
        return job
    dead = Claim(job_id=job.id, token=job.token)
    return claims.release(session, dead, lost=True, max_attempts=1) or job


def _queued_now() -> dict[str, Any]:
    return {"queued": now(), "announced": None}


def _move(session: Session, job: Job, to: State, values: dict[str, Any] | None = None) -> Job:
    moved = lifecycle.move(
        session, job.id, to, sources=(State(job.state),), fence=job.token, values=values
    )
    if moved is None:
        _refuse(job, to.value, "its state has just changed: look at it and ask again")
    return moved


def _refuse(job: Job, done: str, reason: str) -> NoReturn:
    raise ConflictError(f"job {job.id} is {job.state} and cannot be {done}: {reason}")
