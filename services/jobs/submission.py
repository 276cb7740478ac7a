"""Accepting a job: the row that promises it will be done."""

from datetime import datetime

from sqlalchemy.orm import Session

from services import quotas, telemetry
from services.access import Caller
from services.database.schema import Job, now
from services.errors import BadInputError, Problem
from services.ids import new_id
from services.jobs import lifecycle
from services.jobs.admission import admit
from services.jobs.lifecycle import State
from services.jobs.specs import AnySpec
from services.logs import current_ids


def submit(
    session: Session,
    spec: AnySpec,
    *,
    caller: Caller,
    name: str = "",
    priority: int = 0,
    deadline: datetime | None = None,
) -> Job:
    """Store a queued job; from the commit on it will not be lost.

    Raises: BadInputError for what `spec` names and is not there, not ready or does not fit, or
    if the deadline has passed; QuotaExceededError or QueueFullError if the caller may have no
    more.
    """
    created = now()
    if deadline is not None and deadline <= created:
        raise BadInputError(
            f"the deadline {deadline.isoformat()} has passed: give a later one, or none",
            problems=(Problem("/deadline", "has passed"),),
        )
    # A full queue is told of before what the spec names is looked at, which may be much. What that
    # holds is let go of: quotas are held last.
    with session.begin_nested() as beforehand:
        quotas.check_queue(session, caller)
        beforehand.rollback()
    admitted = admit(session, spec, caller)
    quotas.check_queue(session, caller)
    quotas.check_storage(session, caller, 0)
    job = Job(
        id=new_id("job"),
        owner=caller.owner,
        type=spec.type,
        name=name,
        spec=admitted,
        state=State.QUEUED.value,
        desired_state="run",
        priority=priority,
        attempt=0,
        token=0,
        deadline=deadline,
        created=created,
        queued=created,
        run_seconds=0.0,
        running_cap=caller.quotas.running_jobs,
        request_id=current_ids().get("request_id"),
        trace=telemetry.traceparent(),
    )
    lifecycle.insert(session, job)
    return job
