"""The catalogue of losses, trained and imported; files lie in blobs under their digest."""

from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.access import Caller
from services.blobs import Blobs, StoredFile
from services.database import Database, hold
from services.database.schema import Job, Loss, LossFile, now
from services.errors import NotFoundError
from services.ids import new_id
from services.listing import Page, newest_first

MEDIA_TYPES = {
    "safetensors": "application/vnd.safetensors",
    "pth": "application/vnd.pytorch",
    "pt2": "application/zip",
}


def blob_key(digest: str, file_format: str) -> str:
    """Where a loss file with that SHA-256 lies."""
    return f"losses/{digest}.{file_format}"


def store(session: Session, blobs: Blobs, contents: Mapping[str, bytes]) -> dict[str, StoredFile]:
    """Put the files of a loss, by format, under their digests.

    In the transaction that adds the loss: so nobody deletes the same file of another loss in
    between.
    """
    stored = {}
    for file_format, content in contents.items():
        key = blob_key(sha256(content).hexdigest(), file_format)
        hold(session, key)
        stored[file_format] = blobs.put(key, content)
    return stored


def add_trained(
    session: Session, *, job: Job, manifest: dict[str, Any], files: Mapping[str, StoredFile]
) -> Loss:
    """Publish what `job` trained. Once: the table allows one loss per job."""
    return _add(
        session, owner=job.owner, job_id=job.id, name=job.name, manifest=manifest, files=files
    )


def add_imported(
    session: Session,
    *,
    caller: Caller,
    name: str,
    manifest: dict[str, Any],
    files: Mapping[str, StoredFile],
) -> Loss:
    """Publish a loss that was trained elsewhere."""
    return _add(session, owner=caller.owner, job_id=None, name=name, manifest=manifest, files=files)


def get(session: Session, loss_id: str, caller: Caller) -> Loss:
    """The loss, if the caller may see it."""
    loss = session.scalar(select(Loss).where(Loss.id == loss_id, caller.sees(Loss.owner)))
    if loss is None:
        raise NotFoundError(f"no loss {loss_id}")
    return loss


def of_jobs(session: Session, job_ids: Collection[str]) -> dict[str, str]:
    """Ids of the losses that jobs published, by job."""
    query = select(Loss.job_id, Loss.id).where(Loss.job_id.in_(job_ids))
    return {job_id: loss_id for job_id, loss_id in session.execute(query) if job_id is not None}


def list_losses(
    session: Session, caller: Caller, *, limit: int = 50, cursor: str | None = None
) -> Page[Loss]:
    """The losses that the caller may see, newest first."""
    query = select(Loss).where(caller.sees(Loss.owner))
    return newest_first(session, query, Loss.id, limit=limit, cursor=cursor)


def files(session: Session, loss_id: str) -> list[LossFile]:
    """The downloadable forms of a loss."""
    query = select(LossFile).where(LossFile.loss_id == loss_id).order_by(LossFile.format)
    return list(session.scalars(query))


def file(session: Session, loss_id: str, file_format: str) -> StoredFile:
    """One downloadable form of a loss."""
    row = session.get(LossFile, (loss_id, file_format))
    if row is None:
        raise NotFoundError(f"loss {loss_id} has no file in format {file_format}")
    return StoredFile(blob=row.blob, size=row.size, sha256=row.sha256)


def delete(database: Database, blobs: Blobs, loss_id: str, caller: Caller) -> None:
    """Forget a loss; a file that no other loss has goes with it."""
    with database.write() as session:
        loss = get(session, loss_id, caller)
        keys = [row.blob for row in files(session, loss.id)]
        session.delete(loss)
    # After the commit: no row may be left without its blob. Held, so that nobody refers to a
    # blob between the count and its end.
    for key in keys:
        with database.write() as session:
            hold(session, key)
            if not session.scalar(select(func.count()).where(LossFile.blob == key)):
                blobs.delete(key)


def _add(
    session: Session,
    *,
    owner: str,
    job_id: str | None,
    name: str,
    manifest: dict[str, Any],
    files: Mapping[str, StoredFile],
) -> Loss:
    loss = Loss(
        id=new_id("loss"),
        owner=owner,
        job_id=job_id,
        name=name,
        manifest=manifest,
        sha256=files["safetensors"].sha256,
        created=now(),
    )
    session.add(loss)
    session.flush()
    session.add_all(
        LossFile(
            loss_id=loss.id,
            format=file_format,
            blob=stored.blob,
            size=stored.size,
            sha256=stored.sha256,
        )
        for file_format, stored in files.items()
    )
    session.flush()
    return loss
