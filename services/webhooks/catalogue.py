"""The webhooks of owners, and what was sent to them."""

import secrets
from base64 import b64encode
from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from mdf.webhooks import SECRET_PREFIX
from services.access import Caller
from services.database import hold
from services.database.schema import Webhook, WebhookDelivery, now
from services.errors import ConflictError, NotFoundError, QuotaExceededError
from services.ids import new_id
from services.listing import Page, newest_first
from services.settings import Settings
from services.webhooks import outbox
from services.webhooks.outbox import EVENTS, PING, Event
from services.webhooks.reach import Reach

# Both secrets sign for so long after a new one was made.
ROTATION = timedelta(days=1)
DISABLED_BY_OWNER = "disabled on request"


def create(
    session: Session,
    settings: Settings,
    *,
    caller: Caller,
    url: str,
    name: str = "",
    events: Collection[Event] = EVENTS,
) -> tuple[Webhook, str]:
    """Make a webhook; the second value is its secret, which is not shown again.

    Raises: BadInputError for a URL that cannot be called; QuotaExceededError if the owner has
    as many webhooks as may be.
    """
    wanted = _reach(settings).check(url)
    hold(session, f"webhooks:{caller.owner}")
    count = session.scalar(select(func.count()).where(Webhook.owner == caller.owner)) or 0
    if count >= settings.max_webhooks:
        raise QuotaExceededError(
            f"{caller.owner} has {count} webhooks, and may have {settings.max_webhooks} "
            "(MDF_MAX_WEBHOOKS): delete one first"
        )
    secret = _new_secret()
    webhook = Webhook(
        id=new_id("hook"),
        owner=caller.owner,
        name=name,
        url=wanted,
        events=_in_order(events),
        secret=secret,
        created=now(),
    )
    session.add(webhook)
    session.flush()
    return webhook, secret


def list_webhooks(
    session: Session, caller: Caller, *, limit: int = 50, cursor: str | None = None
) -> Page[Webhook]:
    """The webhooks that the caller may see, newest first."""
    query = select(Webhook).where(caller.sees(Webhook.owner))
    return newest_first(session, query, Webhook.id, limit=limit, cursor=cursor)


def get(session: Session, webhook_id: str, caller: Caller, *, for_update: bool = False) -> Webhook:
    """One webhook; `for_update` keeps others from changing it meanwhile."""
    query = select(Webhook).where(Webhook.id == webhook_id, caller.sees(Webhook.owner))
    if for_update:
        # Jobs that end write their messages all the while.
        query = query.with_for_update(key_share=True)
    webhook = session.scalar(query, execution_options={"populate_existing": True})
    if webhook is None:
        raise NotFoundError(f"no webhook {webhook_id}")
    return webhook


def change(
    session: Session,
    settings: Settings,
    webhook_id: str,
    caller: Caller,
    *,
    url: str | None = None,
    name: str | None = None,
    events: Collection[Event] | None = None,
    enabled: bool | None = None,
) -> Webhook:
    """Change what is given. A disabled webhook is told nothing, also not later."""
    webhook = get(session, webhook_id, caller, for_update=True)
    if url is not None:
        webhook.url = _reach(settings).check(url)
    if name is not None:
        webhook.name = name
    if events is not None:
        webhook.events = _in_order(events)
    if enabled:
        webhook.disabled = webhook.disabled_reason = webhook.failing_since = None
    elif enabled is not None and webhook.disabled is None:
        disable(session, webhook, DISABLED_BY_OWNER)
    session.flush()
    return webhook


def disable(session: Session, webhook: Webhook, reason: str) -> None:
    """Tell the webhook nothing more; what was to be sent to it has failed."""
    webhook.disabled, webhook.disabled_reason = now(), reason
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.webhook_id == webhook.id, WebhookDelivery.state == "pending")
        .values(state="failed", fault="the webhook was disabled")
        .execution_options(synchronize_session="fetch")
    )


def rotate(session: Session, webhook_id: str, caller: Caller) -> tuple[Webhook, str]:
    """Give the webhook a new secret; for a day, messages are signed with the old one too."""
    webhook = get(session, webhook_id, caller, for_update=True)
    webhook.previous_secret, webhook.previous_until = webhook.secret, now() + ROTATION
    webhook.secret = _new_secret()
    session.flush()
    return webhook, webhook.secret


def delete(session: Session, webhook_id: str, caller: Caller) -> None:
    """Forget a webhook, and what was or was to be sent to it."""
    session.delete(get(session, webhook_id, caller))
    session.flush()


def ping(session: Session, webhook_id: str, caller: Caller) -> WebhookDelivery:
    """Send a message that says nothing, once, to see whether it arrives."""
    webhook = get(session, webhook_id, caller, for_update=True)
    _check_enabled(webhook)
    delivery = outbox.add(session, webhook, PING, {"webhook_id": webhook.id})
    session.flush()
    return delivery


def deliveries(
    session: Session,
    webhook_id: str,
    caller: Caller,
    *,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[WebhookDelivery]:
    """What was sent to the webhook or is to be, newest first."""
    webhook = get(session, webhook_id, caller)
    query = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook.id)
    return newest_first(session, query, WebhookDelivery.id, limit=limit, cursor=cursor)


def delivery(
    session: Session,
    webhook_id: str,
    delivery_id: str,
    caller: Caller,
    *,
    for_update: bool = False,
) -> WebhookDelivery:
    """One message to the webhook."""
    webhook = get(session, webhook_id, caller, for_update=for_update)
    query = select(WebhookDelivery).where(
        WebhookDelivery.id == delivery_id, WebhookDelivery.webhook_id == webhook.id
    )
    if for_update:
        query = query.with_for_update()
    found = session.scalar(query.execution_options(populate_existing=True))
    if found is None:
        raise NotFoundError(f"no delivery {delivery_id} to webhook {webhook_id}")
    return found


def redeliver(
    session: Session, webhook_id: str, delivery_id: str, caller: Caller
) -> WebhookDelivery:
    """Send a message again, whatever became of it, now and under the same id."""
    message = delivery(session, webhook_id, delivery_id, caller, for_update=True)
    _check_enabled(session.get_one(Webhook, webhook_id))
    if outbox.is_under_way(message):
        raise ConflictError(
            f"{delivery_id} is being sent at this moment: look at it again in a minute"
        )
    message.state, message.attempts, message.due = "pending", 0, now()
    message.status = message.fault = message.delivered = None
    session.flush()
    return message


def _check_enabled(webhook: Webhook) -> None:
    if webhook.disabled is not None:
        raise ConflictError(
            f"webhook {webhook.id} is disabled ({webhook.disabled_reason}): enable it first"
        )


def _reach(settings: Settings) -> Reach:
    return Reach(settings.webhook_network_list)


def _new_secret() -> str:
    return SECRET_PREFIX + b64encode(secrets.token_bytes(32)).decode()


def _in_order(events: Collection[Event]) -> list[str]:
    return [event for event in EVENTS if event in events]
