"""Counts over the whole installation, for operators; no owners and no names but hosts'."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services import tallies, usage
from services.access import Caller
from services.database.schema import Job, Webhook, WebhookDelivery, Worker, now
from services.jobs.lifecycle import State
from services.jobs.queues import QUEUE_NAMES, QUEUES
from services.tallies import Count, Counts, Time, Times
from services.usage import KINDS, Kind, Use

# A slot gives a sign of life every few seconds; after this long it is gone.
WORKER_SILENCE = timedelta(minutes=1)
# Deliveries that have not arrived; those that have are no news.
DELIVERY_STATES = ("pending", "failed")


@dataclass(frozen=True)
class Census:
    """How much of everything there is now, and what has been counted over all time."""

    jobs: Mapping[tuple[str, str], int]  # by type and state
    oldest_queued_seconds: Mapping[str, float]  # by queue
    workers: Sequence[Worker]  # that are alive
    deliveries: Mapping[str, int]  # webhooks' messages by state
    webhooks_disabled: int
    counts: Mapping[Count, Counts]
    times: Mapping[Time, Mapping[tallies.Labels, Times]]


def take(session: Session) -> Census:
    """Count."""
    jobs = session.execute(select(Job.type, Job.state, func.count()).group_by(Job.type, Job.state))
    deliveries = (
        select(WebhookDelivery.state, func.count())
        .where(WebhookDelivery.state.in_(DELIVERY_STATES))
        .group_by(WebhookDelivery.state)
    )
    disabled = select(func.count()).where(Webhook.disabled.is_not(None))
    return Census(
        jobs={(job_type, state): count for job_type, state, count in jobs},
        oldest_queued_seconds=_oldest(session),
        workers=_alive(session),
        deliveries=dict(session.execute(deliveries).all()),
        webhooks_disabled=session.scalar(disabled) or 0,
        counts={name: tallies.counts(session, name) for name in Count},
        times={name: tallies.times(session, name) for name in Time},
    )


def stored(session: Session) -> dict[Kind, Use]:
    """How much of each kind is stored, over all owners; reads every object's row."""
    found = dict.fromkeys(KINDS, Use())
    for of_owner in usage.of_all(session).values():
        for kind, use in of_owner.kinds.items():
            before = found[kind]
            found[kind] = Use(before.count + use.count, before.size + use.size)
    return found


def workers(session: Session, caller: Caller) -> list[tuple[Worker, str | None]]:
    """The slots that are alive, each with its job if the caller may see that."""
    slots = _alive(session)
    visible = set(
        session.scalars(
            select(Job.id).where(
                Job.id.in_([slot.job_id for slot in slots if slot.job_id]), caller.sees(Job.owner)
            )
        )
    )
    return [(slot, slot.job_id if slot.job_id in visible else None) for slot in slots]


def _alive(session: Session) -> Sequence[Worker]:
    query = select(Worker).where(Worker.last_seen > now() - WORKER_SILENCE).order_by(Worker.id)
    return session.scalars(query).all()


def _oldest(session: Session) -> dict[str, float]:
    query = (
        select(Job.type, func.min(Job.queued)).where(Job.state == State.QUEUED).group_by(Job.type)
    )
    moment = now()
    waits = dict.fromkeys(QUEUE_NAMES, 0.0)
    for job_type, queued in session.execute(query):
        queue = QUEUES[job_type]
        waits[queue] = max(waits[queue], (moment - queued).total_seconds())
    return waits
