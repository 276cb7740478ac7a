"""Messages arrive, at least once, whatever happens to receivers and couriers."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from mdf.webhooks import verify
from services.access import LOCAL, Caller
from services.database.schema import Webhook, WebhookDelivery, now
from services.installation import Installation
from services.webhooks import catalogue, courier
from services.webhooks.courier import FAILING, WAITS, Courier, wait_after
from services.webhooks.reach import Reach
from services.webhooks.sending import Sender
from tests.conftest import HttpAnswer
from tests.waiting import PATIENCE_SECONDS, wait_until

ANNA = Caller(owner="anna", scopes=frozenset({"read", "write"}))
# Of an attempt: longer than what is waited for here.
SECONDS = 2 * PATIENCE_SECONDS


def run(*couriers: Courier, until: Callable[[], bool]) -> None:
    """Have couriers work until something is so."""

    async def work() -> None:
        tasks = [asyncio.create_task(each.run()) for each in couriers]
        await asyncio.to_thread(wait_until, until)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(work())


@pytest.fixture
def quick(installation: Installation) -> Callable[..., Courier]:
    """A courier that looks often."""

    def make() -> Courier:
        sender = Sender(Reach(installation.settings.webhook_network_list), seconds=SECONDS)
        return Courier(installation, sender=sender, interval=0.05)

    return make


@pytest.fixture
def let_pass(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Have time pass for couriers."""
    return lambda time: monkeypatch.setattr(courier, "now", lambda: now() + time)


@pytest.fixture
def hang() -> Iterator[HttpAnswer]:
    """An answer that does not come until the test has ended."""
    ended = threading.Event()
    yield lambda _: ended.wait() and None
    ended.set()


@pytest.fixture
def states(outbox) -> Callable[..., Callable[[], bool]]:
    """Whether the messages are in these states, the oldest first."""
    return lambda *wanted: lambda: tuple(message.state for message in outbox()) == wanted


@pytest.fixture
def webhook_row(installation):
    def read(webhook: Webhook) -> Webhook:
        with installation.database.read() as session:
            return session.get_one(Webhook, webhook.id)

    return read


def test_the_end_of_a_job_arrives_signed(
    receive, add_webhook, submit, cancel, quick, states, outbox
) -> None:
    receiver = receive(204)
    webhook = add_webhook(receiver.url)
    job = cancel(submit())
    run(quick(), until=states("delivered"))
    (request,) = receiver.received
    message = verify(webhook.secret, request.headers, request.body)
    assert (message.type, message.data["id"]) == ("job.canceled", job.id)
    (delivery,) = outbox()
    assert message.id == delivery.id
    assert json.loads(request.body) == delivery.content
    assert (delivery.attempts, delivery.status, delivery.fault) == (1, 204, None)
    assert delivery.delivered is not None


def test_a_message_that_did_not_arrive_is_sent_again_under_its_id(
    receive, add_webhook, submit, cancel, quick, states, outbox, webhook_row, monkeypatch, let_pass
) -> None:
    monkeypatch.setattr(courier, "WAITS", (timedelta(), timedelta(hours=1)))
    receiver = receive(503)
    webhook = add_webhook(receiver.url)
    cancel(submit())
    run(quick(), until=lambda: outbox()[0].attempts == 2 and outbox()[0].fault is not None)
    assert webhook_row(webhook).failing_since is not None
    receiver.answer = receive(200).answer
    let_pass(timedelta(hours=2))
    run(quick(), until=states("delivered"))
    sent = [verify(webhook.secret, each.headers, each.body).id for each in receiver.received]
    assert len(set(sent)) == 1
    assert outbox()[0].attempts == len(sent) == 3
    assert webhook_row(webhook).failing_since is None


def test_a_message_is_tried_for_about_three_days_and_has_failed_then(
    receive, add_webhook, submit, cancel, quick, states, outbox, monkeypatch
) -> None:
    assert timedelta(days=2.5) < sum(WAITS, timedelta()) < timedelta(days=3.5)
    waits = [wait_after(1) for _ in range(50)]
    assert all(0.8 <= wait / WAITS[0] <= 1.2 for wait in waits if wait)
    assert len(set(waits)) > 10  # spread in time
    assert wait_after(len(WAITS)) is not None
    assert wait_after(len(WAITS) + 1) is None

    monkeypatch.setattr(courier, "WAITS", (timedelta(),) * 2)
    receiver = receive(500)
    add_webhook(receiver.url)
    cancel(submit())
    run(quick(), until=states("failed"))
    assert len(receiver.received) == 3
    (message,) = outbox()
    assert (message.status, message.fault) == (500, "answered 500")


def test_a_ping_is_sent_once(receive, add_webhook, ping, quick, states) -> None:
    receiver = receive(500)
    ping(add_webhook(receiver.url))
    run(quick(), until=states("failed"))
    assert len(receiver.received) == 1


def test_a_receiver_that_is_gone_is_told_nothing_more(
    receive, add_webhook, submit, cancel, quick, states, webhook_row, outbox
) -> None:
    receiver = receive(410)
    webhook = add_webhook(receiver.url)
    cancel(submit())
    run(quick(), until=states("failed"))
    row = webhook_row(webhook)
    assert row.disabled is not None
    assert row.disabled_reason == "the receiver answered 410: it wants no more messages"
    cancel(submit())
    assert len(outbox()) == 1


def test_a_webhook_that_fails_for_days_is_disabled_with_what_waits_for_it(
    installation, receive, add_webhook, submit, cancel, quick, states, webhook_row, outbox
) -> None:
    webhook = add_webhook(receive(500).url)
    cancel(submit()), cancel(submit())
    with installation.database.write() as session:
        session.get_one(Webhook, webhook.id).failing_since = now() - FAILING
        session.get_one(WebhookDelivery, outbox()[1].id).due = now() + timedelta(hours=1)
    run(quick(), until=states("failed", "failed"))
    assert webhook_row(webhook).disabled_reason == (
        "no message has arrived for 5 days: answered 500"
    )
    assert [message.fault for message in outbox()] == [
        *("answered 500", "the webhook was disabled")
    ]


def test_two_couriers_send_each_message_once(receive, add_webhook, ping, quick, outbox) -> None:
    receiver = receive(204)
    webhook = add_webhook(receiver.url)
    for _ in range(40):
        ping(webhook)
    run(
        *(quick() for _ in range(3)),
        until=lambda: all(message.state == "delivered" for message in outbox()),
    )
    count = Counter(request.headers["webhook-id"] for request in receiver.received)
    assert len(count) == 40
    assert set(count.values()) == {1}


def test_an_attempt_whose_courier_died_is_made_again(
    receive, add_webhook, ping, quick, states, outbox, let_pass
) -> None:
    receiver = receive(204)
    ping(add_webhook(receiver.url))
    dead = quick()
    (parcel,) = dead._take(16, Counter())  # and then its process ends
    assert dead._take(16, Counter()) == []
    let_pass(timedelta(seconds=2 * SECONDS))
    run(quick(), until=states("delivered"))
    assert [request.headers["webhook-id"] for request in receiver.received] == [parcel.id]
    assert outbox()[0].attempts == 2


def test_a_courier_that_is_stopped_gives_back_what_is_under_way(
    receive, add_webhook, ping, quick, states, outbox, hang
) -> None:
    receiver = receive(hang)
    ping(add_webhook(receiver.url))
    run(quick(), until=lambda: bool(receiver.received))
    (message,) = outbox()
    assert (message.state, message.attempts) == ("pending", 0)
    receiver.answer = receive(204).answer
    run(quick(), until=states("delivered"))


def test_a_courier_that_is_stopped_notes_what_was_answered(
    receive, add_webhook, ping, quick, outbox, monkeypatch
) -> None:
    ping(add_webhook(receive(503).url))
    note, noted = Courier._record, threading.Event()

    def note_slowly(*arguments: Any) -> None:
        noted.set()
        time.sleep(0.3)
        note(*arguments)

    monkeypatch.setattr(Courier, "_record", note_slowly)
    run(quick(), until=noted.is_set)
    (message,) = outbox()
    assert (message.attempts, message.status) == (1, 503)


def test_slow_receivers_of_one_owner_do_not_hold_up_another_s(
    installation, receive, add_webhook, ping, submit, cancel, quick, outbox, hang
) -> None:
    slow, fast = receive(hang), receive(204)
    hung = add_webhook(slow.url)
    for _ in range(30):
        ping(hung)
    add_webhook(fast.url, caller=ANNA)
    job = submit()
    with installation.database.write() as session:
        theirs = session.merge(job)
        theirs.owner = "anna"
    cancel(theirs)
    run(quick(), until=lambda: bool(fast.received))
    assert len(slow.received) <= courier.OF_ONE_OWNER


def test_after_a_rotation_both_secrets_sign_for_a_day(
    installation, receive, add_webhook, ping, quick, outbox
) -> None:
    receiver = receive(204)
    webhook = add_webhook(receiver.url)
    with installation.database.write() as session:
        _, secret = catalogue.rotate(session, webhook.id, LOCAL)
    assert secret != webhook.secret
    ping(webhook)
    run(quick(), until=lambda: outbox()[-1].state == "delivered")
    for each in (webhook.secret, secret):
        verify(each, receiver.received[0].headers, receiver.received[0].body)
    with installation.database.write() as session:
        session.get_one(Webhook, webhook.id).previous_until = now()
    ping(webhook)
    run(quick(), until=lambda: outbox()[-1].state == "delivered")
    assert len(receiver.received[1].headers["webhook-signature"].split()) == 1
    verify(secret, receiver.received[1].headers, receiver.received[1].body)


def test_a_database_that_is_away_for_a_while_loses_nothing(
    installation, receive, add_webhook, ping, quick, states
) -> None:
    receiver = receive(204)
    ping(add_webhook(receiver.url))

    def rename(old: str, new: str) -> None:
        with installation.database.engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

    rename("webhook_deliveries", "elsewhere")
    looked = quick()
    looks = Counter[str]()

    def take(*_: object) -> list[courier.Parcel]:
        looks["taken"] += 1
        return Courier._take(looked, 16, Counter())

    looked._take = take  # type: ignore[method-assign]
    run(looked, until=lambda: looks["taken"] > 3)
    assert not receiver.received
    rename("elsewhere", "webhook_deliveries")
    run(quick(), until=states("delivered"))


def test_the_log_holds_no_url(receive, add_webhook, ping, quick, states, caplog) -> None:
    caplog.set_level("DEBUG")
    webhook = add_webhook(receive(500).url)
    ping(webhook)
    run(quick(), until=states("failed"))
    assert webhook.id in caplog.text
    assert "s3cr3t" not in caplog.text
    assert webhook.secret not in caplog.text


def test_a_message_that_arrives_after_its_webhook_was_disabled_has_arrived(
    installation, receive, add_webhook, ping, quick, outbox
) -> None:
    webhook = add_webhook(receive(204).url)
    ping(webhook)
    sending = quick()
    (parcel,) = sending._take(16, Counter())
    with installation.database.write() as session:
        catalogue.change(session, installation.settings, webhook.id, LOCAL, enabled=False)
    assert outbox()[0].fault == "the webhook was disabled"
    asyncio.run(sending._deliver(parcel))
    (message,) = outbox()
    assert (message.state, message.status, message.fault) == ("delivered", 204, None)
