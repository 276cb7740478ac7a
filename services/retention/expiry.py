"""What is old enough to go: uploads that nobody finishes, checkpoints, answers, sessions, jobs."""

from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import delete, select

from services import browser_sessions, idempotency
from services.access import Caller
from services.blobs import Blobs
from services.database import Database, let_stand_still
from services.database.schema import Dataset, Job, WebhookDelivery, now
from services.datasets import catalogue as datasets
from services.errors import ConflictError, NotFoundError
from services.installation import Installation
from services.jobs import parts, requests
from services.jobs.lifecycle import TERMINAL, State
from services.settings import Settings
from services.webhooks import outbox

_EVERYONE = Caller(owner="", scopes=frozenset({"admin"}))
_RESUMABLE = (State.FAILED, State.CANCELED)


def expire(installation: Installation) -> int:
    """Delete what has been kept for long enough; returns how many bytes that has freed."""
    settings, database, blobs = installation.settings, installation.database, installation.blobs
    _forget_rows(database, settings)
    freed = (
        _delete_jobs(database, blobs, settings)
        + _delete_datasets(database, blobs, settings)
        + _delete_checkpoints(database, blobs, settings)
    )
    outbox.trim(database)  # which rests at times
    return freed


def _forget_rows(database: Database, settings: Settings) -> None:
    settled = WebhookDelivery.state != "pending"
    too_old = WebhookDelivery.created < _ago(settings.keep_deliveries_days)
    with database.write() as session:
        idempotency.forget_old(session)
        browser_sessions.sweep(session)
        session.execute(delete(WebhookDelivery).where(settled, too_old))


def _delete_jobs(database: Database, blobs: Blobs, settings: Settings) -> int:
    if settings.keep_jobs_days is None:
        return 0
    ended = Job.state.in_(TERMINAL), Job.finished < _ago(settings.keep_jobs_days)
    with database.read() as session:
        job_ids = session.scalars(select(Job.id).where(*ended)).all()
    freed = 0
    for job_id in job_ids:
        with suppress(ConflictError, NotFoundError):  # retried or deleted meanwhile
            freed += requests.delete(database, blobs, job_id, _EVERYONE)
    return freed


def _delete_datasets(database: Database, blobs: Blobs, settings: Settings) -> int:
    """Those that were never ready, and with which nothing has happened for long."""
    before = _ago(settings.keep_uploads_days)
    with database.read() as session:
        query = select(Dataset, Job).outerjoin(Job, Job.id == Dataset.job_id)
        unready = session.execute(
            query.where(Dataset.ready.is_(None), Dataset.created < before)
        ).all()
    freed = 0
    for dataset, job in unready:
        if job is not None and (job.finished is None or job.finished >= before):
            continue
        uploaded = blobs.entries(datasets.upload_folder(dataset.id))
        if any(entry.modified >= before for entry in uploaded):
            continue
        with suppress(ConflictError, NotFoundError):  # imported or deleted meanwhile
            freed += datasets.delete(database, blobs, dataset.id, _EVERYONE)
    return freed


def _delete_checkpoints(database: Database, blobs: Blobs, settings: Settings) -> int:
    """What a retry of those jobs would go on from; from now on it begins anew."""
    with_parts = {key.split("/")[1] for key in blobs.keys(parts.FOLDER)}
    ended = (
        Job.state.in_(_RESUMABLE),
        Job.finished < _ago(settings.keep_checkpoints_days),
    )
    with database.read() as session:
        rows = session.execute(select(Job.id, Job.checkpoint).where(*ended)).all()
    freed = 0
    for row in rows:
        if row.checkpoint is not None or row.id in with_parts:
            freed += _delete_checkpoint(database, blobs, row.id)
    return freed


def _delete_checkpoint(database: Database, blobs: Blobs, job_id: str) -> int:
    with database.write() as session:
        # Held until the files are gone: a retry waits, and finds neither.
        let_stand_still(session)
        job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
        if job is None or job.state not in _RESUMABLE:
            return 0
        job.checkpoint = job.checkpoint_at = job.checkpoint_size = None
        session.flush()
        return blobs.delete_below(f"checkpoints/{job_id}") + blobs.delete_below(
            f"{parts.FOLDER}/{job_id}"
        )


def _ago(days: float) -> datetime:
    return now() - timedelta(days=days)
