"""What webhooks are told, written in the very transaction that makes it true.

So a crash leaves both or neither: no end of a job goes untold, and none is told that was not; but
a sweep forgets the oldest of more messages than may wait for one webhook.
"""

import logging
import time
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from services.database import Database
from services.database.schema import (
    Dataset,
    Evaluation,
    Job,
    Loss,
    Model,
    Webhook,
    WebhookDelivery,
    now,
)
from services.ids import new_id

Event = Literal["job.succeeded", "job.failed", "job.canceled", "job.expired"]
EVENTS: tuple[Event, ...] = get_args(Event)
PING = "webhook.ping"
# Of the messages of one webhook, those that wait, and those that have arrived or failed. No quota
# counts them, and each may hold as much as its job's spec does.
WAITING_KEPT = 10_000
SETTLED_KEPT = 1000
# Of them, deleted in one transaction; others write meanwhile.
_BATCH = 50
_PAUSE_SECONDS = 0.1

_SHOWN = (
    *("id", "type", "name", "state", "spec", "attempt", "priority", "progress", "error"),
    *("checkpoint_at", "created", "queued", "started", "finished", "deadline", "run_seconds"),
)

_log = logging.getLogger(__name__)


def tell_end(session: Session, job: Job) -> None:
    """Let the webhooks of the job's owner know that it has ended, and what it has made."""
    event = f"job.{job.state}"
    webhooks = session.scalars(
        select(Webhook)
        .where(Webhook.owner == job.owner, Webhook.disabled.is_(None))
        # Not deleted before this transaction ends, which would fail.
        .with_for_update(read=True, key_share=True)
    )
    wanted = [webhook for webhook in webhooks if event in webhook.events]
    if wanted:
        data = _describe(session, job)
        for webhook in wanted:
            add(session, webhook, event, data)
        session.flush()


def add(session: Session, webhook: Webhook, event: str, data: dict[str, Any]) -> WebhookDelivery:
    """A message to one webhook, to be sent at once."""
    moment = now()
    delivery = WebhookDelivery(
        id=new_id("msg"),
        webhook_id=webhook.id,
        event=event,
        content={"type": event, "timestamp": _plain(moment), "data": data},
        state="pending",
        attempts=0,
        due=moment,
        created=moment,
    )
    session.add(delivery)
    return delivery


def is_under_way(message: WebhookDelivery) -> bool:
    """Whether an attempt to send it has begun, and has neither ended nor been broken off."""
    begun = message.state == "pending" and message.attempts > 0 and message.fault is None
    return begun and message.due > now()


def trim(database: Database) -> None:
    """Forget each webhook's oldest messages beyond what is kept, and none that is under way."""
    with database.read() as session:
        webhook_ids = session.scalars(select(Webhook.id)).all()
    for webhook_id in webhook_ids:
        _forget(database, webhook_id, WebhookDelivery.state != "pending", kept=SETTLED_KEPT)
        lost = _forget(database, webhook_id, WebhookDelivery.state == "pending", kept=WAITING_KEPT)
        if lost:
            _log.warning(
                "more than %d messages wait for webhook %s: %d of the oldest will not arrive",
                *(WAITING_KEPT, webhook_id, lost),
            )


def _forget(database: Database, webhook_id: str, which: ColumnElement[bool], *, kept: int) -> int:
    """Delete a webhook's messages of a kind beyond the newest so many; returns how many."""
    messages = select(WebhookDelivery.id).where(WebhookDelivery.webhook_id == webhook_id, which)
    with database.read() as session:
        beyond = session.scalars(messages.order_by(WebhookDelivery.id.desc()).offset(kept)).all()
    forgotten = 0
    for start in range(0, len(beyond), _BATCH):
        if start:
            time.sleep(_PAUSE_SECONDS)
        some = beyond[start : start + _BATCH]
        # Those that another sweep has in hand are left to it: nobody waits in a circle.
        free = messages.where(WebhookDelivery.id.in_(some), _rests()).with_for_update(
            skip_locked=True
        )
        with database.write() as session:
            gone = session.scalars(
                delete(WebhookDelivery)
                .where(WebhookDelivery.id.in_(free))
                .returning(WebhookDelivery.id)
            )
            forgotten += len(gone.all())
    return forgotten


def _rests() -> ColumnElement[bool]:
    """Is not under way, as `is_under_way` has it."""
    return or_(
        WebhookDelivery.state != "pending",
        WebhookDelivery.attempts == 0,
        WebhookDelivery.fault.is_not(None),
        WebhookDelivery.due <= now(),
    )


def _describe(session: Session, job: Job) -> dict[str, Any]:
    """The job as REST shows it, for good: it may be deleted before the message arrives."""
    return {name: _plain(getattr(job, name)) for name in _SHOWN} | {
        "queue_position": None,
        "eta_seconds": None,
        "loss_id": _made(session, job, Loss.id, Loss.job_id),
        "model_id": _made(session, job, Model.id, Model.job_id),
        "dataset_id": _made(session, job, Dataset.id, Dataset.job_id),
        "evaluation_id": _made(session, job, Evaluation.id, Evaluation.job_id),
    }


def _made(
    session: Session,
    job: Job,
    object_id: InstrumentedAttribute[str],
    job_id: InstrumentedAttribute[Any],
) -> str | None:
    return session.scalar(select(object_id).where(job_id == job.id))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value
