"""What an unfinished job names in its spec stays until the job is finished."""

from sqlalchemy import Text, cast, select
from sqlalchemy.orm import Session

from services.database.schema import Job
from services.errors import ConflictError
from services.jobs.lifecycle import TERMINAL


def check_unused(session: Session, object_id: str, noun: str) -> None:
    """Raise ConflictError while an unfinished job uses the `noun` of that id.

    To be asked with the object held (`services.database.hold`), as submitting holds it: then
    no job takes it before it is gone.
    """
    # Of every owner: an admin may use another's. No other text in a spec looks like an id.
    named = cast(Job.spec, Text).contains(f'"{object_id}"', autoescape=True)
    query = select(Job.id).where(Job.state.not_in(TERMINAL), named).order_by(Job.id).limit(1)
    job_id = session.scalar(query)
    if job_id is not None:
        raise ConflictError(
            f"{noun} {object_id} is used by job {job_id}, which is not finished: "
            f"cancel the job or wait for its end, then delete the {noun}"
        )
