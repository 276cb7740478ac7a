"""What an unfinished job names in its spec stays until the job is finished."""

from sqlalchemy import Text, cast, select
from sqlalchemy.orm import Session

from services.access import Caller
from services.database.schema import Job
from services.errors import ConflictError
from services.jobs.lifecycle import TERMINAL


def check_unused(session: Session, object_id: str, noun: str, caller: Caller) -> None:
    """Raise ConflictError while an unfinished job uses the `noun` of that id.

    Names the job to a caller who may see it.

    To be asked with the object held (`services.database.hold`), as submitting holds it: then
    no job takes it before it is gone.
    """
    # Of every owner: an admin may use another's. No other text in a spec looks like an id.
    named = cast(Job.spec, Text).contains(f'"{object_id}"', autoescape=True)
    using = select(Job.id).where(Job.state.not_in(TERMINAL), named).order_by(Job.id).limit(1)
    job_id = session.scalar(using.where(caller.sees(Job.owner)))
    if job_id is not None:
        raise ConflictError(
            f"{noun} {object_id} is used by job {job_id}, which is not finished: "
            f"cancel the job or wait for its end, then delete the {noun}"
        )
    if session.scalar(using) is not None:
        raise ConflictError(
            f"{noun} {object_id} is being used by the service's administrators: delete the {noun} "
            "later"
        )
