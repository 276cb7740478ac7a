"""Files that a job publishes beside its result."""

from sqlalchemy.orm import Session

from services.blobs import StoredFile
from services.database.schema import Artifact, Job, now
from services.ids import new_id
from services.jobs import lifecycle


def blob_key(job: Job, kind: str) -> str:
    """Where this attempt at `job` stores its artifact of that kind.

    Each attempt has a name of its own: one that has lost its job, and does not know it yet,
    replaces nothing that was published.
    """
    return f"artifacts/{job.id}/{job.token}-{kind}"


def publish(session: Session, job: Job, *, kind: str, media_type: str, file: StoredFile) -> None:
    """Add the artifact of `job`, in the transaction that ends it. Once for each kind."""
    session.add(
        Artifact(
            id=new_id("art"),
            job_id=job.id,
            kind=kind,
            media_type=media_type,
            blob=file.blob,
            size=file.size,
            sha256=file.sha256,
            created=now(),
        )
    )
    session.flush()
    lifecycle.record(session, job.id, "artifact", {"kind": kind})
