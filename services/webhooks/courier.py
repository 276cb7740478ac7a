"""Sends what the outbox holds: out of band, at least once, again and again for three days.

Every API process has a courier. A message is taken by one UPDATE that pushes its `due` ahead: so
no attempt is made by two of them, and the attempt of a process that died is made again a little
later.
"""

import asyncio
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from mdf.webhooks import sign
from services.database.schema import Webhook, WebhookDelivery, now
from services.installation import Installation
from services.webhooks import catalogue
from services.webhooks.outbox import PING
from services.webhooks.reach import Reach
from services.webhooks.sending import Outcome, Sender

# Between one attempt and the next; after the last of them the message has failed.
WAITS = (
    *(timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30)),
    *(timedelta(hours=hours) for hours in (2, 5, 8, 12, 20, 24)),
)
# Without a single success; longer than one message is tried.
FAILING = timedelta(days=5)

AT_ONCE = 16  # messages under way in this process
OF_ONE_OWNER = 4
GONE = 410

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parcel:
    """One attempt to deliver one message."""

    id: str
    attempt: int
    webhook_id: str
    owner: str
    url: str
    secrets: tuple[str, ...]
    content: dict[str, Any]


class Courier:
    """The messages that this process sends."""

    def __init__(
        self, installation: Installation, *, sender: Sender | None = None, interval: float = 0.5
    ) -> None:
        self._database = installation.database
        self._sender = sender or Sender(Reach(installation.settings.webhook_network_list))
        self._interval = interval  # seconds between looks at an outbox that was empty
        self._under_way: dict[asyncio.Task[None], Parcel] = {}
        self._answered: set[str] = set()  # of those, the ids whose end is being noted

    async def run(self) -> None:
        """Send what is due, until canceled; what is under way then is left to be sent again."""
        try:
            while True:
                for parcel in await self._take_patiently():
                    task = asyncio.create_task(self._deliver(parcel), name=f"webhook {parcel.id}")
                    self._under_way[task] = parcel
                if self._under_way:  # a place that is free may be taken at once
                    done, _ = await asyncio.wait(
                        self._under_way,
                        timeout=self._interval,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    for task in done:
                        self._let_go(task)
                else:
                    await asyncio.sleep(self._interval)
        finally:
            await self._break_off()

    async def _break_off(self) -> None:
        """Give back what has no answer yet; of the rest the end is noted."""
        unanswered = [
            task for task, parcel in self._under_way.items() if parcel.id not in self._answered
        ]
        for task in unanswered:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        left = [self._under_way[task].id for task in unanswered if task.cancelled()]
        if left:
            await asyncio.to_thread(self._give_back, left)

    def _let_go(self, task: asyncio.Task[None]) -> None:
        parcel = self._under_way.pop(task)
        self._answered.discard(parcel.id)
        if error := task.exception():
            _log.error("message %s could not be sent", parcel.id, exc_info=error)

    async def _take_patiently(self) -> list[Parcel]:
        room = AT_ONCE - len(self._under_way)
        if not room:
            return []
        busy = Counter(parcel.owner for parcel in self._under_way.values())
        try:
            return await asyncio.to_thread(self._take, room, busy)
        except SQLAlchemyError as error:
            _log.warning("cannot read the outbox of webhooks, trying again: %s", error)
        except Exception:  # noqa: BLE001 - all messages wait for this loop
            _log.exception("cannot read the outbox of webhooks, trying again")
        return []

    def _take(self, room: int, busy: Counter[str]) -> list[Parcel]:
        """Up to `room` messages that are due, in turns of their owners, from now on ours."""
        with self._database.read() as session:
            ids = _candidates(session, room, busy)
        if not ids:
            return []
        moment = now()
        # Long enough for the attempt to end, if this process lives.
        again = moment + timedelta(seconds=2 * self._sender.seconds)
        with self._database.write() as session:
            taken = session.execute(
                update(WebhookDelivery)
                .where(WebhookDelivery.id.in_(ids), *_due())
                .values(due=again, attempts=WebhookDelivery.attempts + 1, status=None, fault=None)
                .returning(
                    WebhookDelivery.id,
                    WebhookDelivery.attempts,
                    WebhookDelivery.webhook_id,
                    WebhookDelivery.content,
                ),
                execution_options={"synchronize_session": False},
            ).all()
            webhooks = {
                webhook.id: webhook
                for webhook in session.scalars(
                    select(Webhook).where(Webhook.id.in_([row.webhook_id for row in taken]))
                )
            }
        return [
            Parcel(
                id=row.id,
                attempt=row.attempts,
                webhook_id=row.webhook_id,
                owner=webhooks[row.webhook_id].owner,
                url=webhooks[row.webhook_id].url,
                secrets=_secrets(webhooks[row.webhook_id]),
                content=row.content,
            )
            for row in taken
        ]

    async def _deliver(self, parcel: Parcel) -> None:
        body = json.dumps(parcel.content, ensure_ascii=False, separators=(",", ":")).encode()
        sent = int(time.time())
        outcome = await self._sender.send(
            parcel.url,
            {
                "webhook-id": parcel.id,
                "webhook-timestamp": str(sent),
                "webhook-signature": " ".join(
                    sign(secret, parcel.id, sent, body) for secret in parcel.secrets
                ),
            },
            body,
        )
        self._answered.add(parcel.id)
        # Not the URL, here or elsewhere in the log: it may well hold a secret.
        _log.info(
            "message %s to %s, attempt %d: %s",
            *(parcel.id, parcel.webhook_id, parcel.attempt, outcome.fault or outcome.status),
        )
        try:
            await asyncio.to_thread(self._record, parcel, outcome)
        except SQLAlchemyError as error:
            _log.warning("message %s is sent again: its end was not noted: %s", parcel.id, error)

    def _record(self, parcel: Parcel, outcome: Outcome) -> None:
        with self._database.write() as session:
            webhook = session.get(Webhook, parcel.webhook_id, with_for_update={"key_share": True})
            message = session.get(WebhookDelivery, parcel.id, with_for_update=True)
            if webhook is None or message is None:  # deleted meanwhile
                return
            if outcome.fault is None:
                message.state, message.delivered = "delivered", now()
                message.status, message.fault = outcome.status, None
                webhook.failing_since = None
            elif message.state == "pending" and message.attempts == parcel.attempt:
                _note_failure(session, webhook, message, outcome)

    def _give_back(self, ids: Collection[str]) -> None:
        """Have messages sent at once by whoever comes next: their attempts were broken off."""
        # If not even that can be noted, they are sent again a little later.
        with suppress(SQLAlchemyError), self._database.write() as session:
            session.execute(
                update(WebhookDelivery)
                .where(WebhookDelivery.id.in_(ids), WebhookDelivery.state == "pending")
                .values(due=now(), attempts=WebhookDelivery.attempts - 1)
            )


def wait_after(attempt: int) -> timedelta | None:
    """Time until the next attempt, a fifth more or less; None after the last one."""
    if attempt > len(WAITS):
        return None
    return WAITS[attempt - 1] * random.uniform(0.8, 1.2)  # noqa: S311 - spreads attempts in time


def _note_failure(
    session: Session, webhook: Webhook, message: WebhookDelivery, outcome: Outcome
) -> None:
    moment = now()
    message.status, message.fault = outcome.status, outcome.fault
    # Whoever asked for a ping is waiting for its outcome, and for no later one.
    wait = None if message.event == PING else wait_after(message.attempts)
    if wait is None:
        message.state = "failed"
    else:
        message.due = moment + wait
    webhook.failing_since = webhook.failing_since or moment
    reason = None
    if outcome.status == GONE:
        reason = "the receiver answered 410: it wants no more messages"
    elif webhook.failing_since <= moment - FAILING:
        reason = f"no message has arrived for {FAILING.days} days: {outcome.fault}"
    if reason is not None and webhook.disabled is None:
        message.state = "failed"
        session.flush()
        catalogue.disable(session, webhook, reason)
        _log.warning("webhook %s is disabled: %s", webhook.id, reason)


def _candidates(session: Session, room: int, busy: Counter[str]) -> list[str]:
    full = [owner for owner, count in busy.items() if count >= OF_ONE_OWNER]
    turn = func.row_number().over(
        partition_by=Webhook.owner, order_by=(WebhookDelivery.due, WebhookDelivery.id)
    )
    waiting = (
        select(WebhookDelivery.id, Webhook.owner, turn.label("turn"))
        .join(Webhook)
        .where(*_due(), Webhook.owner.not_in(full))
        .subquery()
    )
    rows = session.execute(
        select(waiting.c.id, waiting.c.owner, waiting.c.turn)
        .where(waiting.c.turn <= OF_ONE_OWNER)
        .order_by(waiting.c.turn)
    )
    return [row.id for row in rows if busy[row.owner] + row.turn <= OF_ONE_OWNER][:room]


def _due() -> tuple[ColumnElement[bool], ...]:
    return WebhookDelivery.state == "pending", WebhookDelivery.due <= now()


def _secrets(webhook: Webhook) -> tuple[str, ...]:
    """Those that sign: the old one too, until its receiver has been told the new."""
    if webhook.previous_secret and webhook.previous_until and webhook.previous_until > now():
        return (webhook.secret, webhook.previous_secret)
    return (webhook.secret,)
