"""What webhooks are told is written with what it tells, or not at all."""

import logging
import time
from datetime import timedelta

import pytest

from services.access import LOCAL, Caller
from services.database.schema import Loss, now
from services.jobs import claims, requests
from services.jobs.claims import Claim
from services.retention.expiry import expire
from services.webhooks import outbox as outboxes

ANNA = Caller(owner="anna", scopes=frozenset({"read", "write"}))
HOOK = "https://hooks.example/"


@pytest.fixture
def claim(installation):
    def take(job):
        wanted = Claim(job.id, job.token + 1)
        with installation.database.write() as session:
            assert claims.claim(session, wanted, holder="w", host="h", lease=timedelta(seconds=30))
        return wanted

    return take


def test_a_success_tells_what_was_made(installation, submit, claim, add_webhook, outbox) -> None:
    webhook = add_webhook(HOOK)
    job = submit()
    held = claim(job)
    with installation.database.write() as session:
        loss = {"name": "l", "manifest": {}, "sha256": "0", "created": now(), "owner": "local"}
        session.add(Loss(id="loss_1", job_id=job.id, **loss))
        claims.succeed(session, held)
    (message,) = outbox()
    assert (message.webhook_id, message.event, message.state) == (
        *(webhook.id, "job.succeeded", "pending"),
    )
    content = message.content
    assert content["type"] == "job.succeeded"
    assert content["data"]["id"] == job.id
    assert content["data"]["state"] == "succeeded"
    assert content["data"]["loss_id"] == "loss_1"
    assert (content["data"]["model_id"], content["data"]["dataset_id"]) == (None, None)
    assert content["data"]["created"] == job.created.isoformat().replace("+00:00", "Z")


def test_a_failure_tells_why(installation, submit, claim, add_webhook, outbox) -> None:
    add_webhook(HOOK)
    error = {"code": "diverged", "message": "the loss is not finite", "retryable": False}
    held = claim(submit())
    with installation.database.write() as session:
        claims.fail(session, held, error)
    (message,) = outbox()
    assert (message.event, message.content["data"]["error"]) == ("job.failed", error)


def test_a_job_that_expires_or_is_canceled_is_told_too(
    installation, submit, cancel, add_webhook, outbox
) -> None:
    add_webhook(HOOK)
    late = submit()
    with installation.database.write() as session:
        session.merge(late).deadline = now() - timedelta(seconds=1)
    with installation.database.write() as session:
        claims.expire(session, late.id)
    cancel(submit())
    assert [message.event for message in outbox()] == ["job.expired", "job.canceled"]


def test_what_does_not_end_a_job_is_not_told(installation, submit, claim, add_webhook, outbox):
    add_webhook(HOOK)
    paused, lost = submit(), submit()
    with installation.database.write() as session:
        requests.pause(session, paused.id, LOCAL)
    held = claim(lost)
    with installation.database.write() as session:
        claims.release(session, held, lost=True, max_attempts=5)
    assert outbox() == []


def test_each_webhook_is_told_what_it_asked_for_and_only_of_its_owner(
    installation, submit, cancel, add_webhook, outbox
) -> None:
    all_events = add_webhook(HOOK)
    canceled = add_webhook(HOOK, events=["job.canceled"])
    add_webhook(HOOK, events=["job.succeeded", "job.failed"])
    add_webhook(HOOK, caller=ANNA)
    cancel(submit())
    assert {message.webhook_id for message in outbox()} == {all_events.id, canceled.id}


def test_an_end_that_is_rolled_back_is_not_told(installation, submit, add_webhook, outbox) -> None:
    add_webhook(HOOK)
    job = submit()

    def cancel_and_crash() -> None:
        with installation.database.write() as session:
            requests.cancel(session, job.id, LOCAL)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        cancel_and_crash()
    assert outbox() == []


def test_a_job_that_is_retried_tells_each_of_its_ends(
    installation, submit, cancel, add_webhook, outbox
) -> None:
    add_webhook(HOOK)
    job = cancel(submit())
    with installation.database.write() as session:
        requests.retry(session, job.id, LOCAL)
    cancel(job)
    first, second = outbox()
    assert first.content["data"]["id"] == second.content["data"]["id"] == job.id
    assert first.id != second.id


@pytest.fixture
def messages(installation):
    """Put a webhook's messages into the outbox, one after the other; gives their ids."""

    def put(webhook, *states: str) -> list[str]:
        with installation.database.write() as session:
            made = []
            for state in states:
                message = outboxes.add(session, webhook, outboxes.PING, {})
                if state == "under way":  # as the courier marks it
                    message.attempts, message.due = 1, now() + timedelta(seconds=30)
                elif state == "broken off":
                    message.attempts = 1
                elif state == "to come again":
                    message.attempts, message.fault = 1, "the answer was 500"
                else:
                    message.state = state
                session.flush()
                made.append(message.id)
                time.sleep(0.002)  # ids of one millisecond have no order
        return made

    return put


def test_of_a_webhook_only_the_newest_messages_are_kept(
    installation, add_webhook, messages, outbox, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(outboxes, "WAITING_KEPT", 3)
    monkeypatch.setattr(outboxes, "SETTLED_KEPT", 2)
    monkeypatch.setattr(outboxes, "_BATCH", 2)
    loud, quiet = add_webhook(HOOK), add_webhook(HOOK)
    kept = messages(quiet, "delivered", "pending")
    settled = messages(loud, "failed", "delivered", "delivered", "failed")
    waiting = messages(loud, "to come again", "broken off", "under way", *["pending"] * 4)
    settled += messages(loud, "delivered")
    under_way = [each.id for each in outbox() if outboxes.is_under_way(each)]
    assert under_way == [waiting[2]]
    with caplog.at_level(logging.WARNING, "services.webhooks.outbox"):
        expire(installation)
    assert {each.id for each in outbox()} == {*kept, *settled[-2:], waiting[2], *waiting[-3:]}
    assert caplog.messages == [
        f"more than 3 messages wait for webhook {loud.id}: 3 of the oldest will not arrive"
    ]
    caplog.clear()
    expire(installation)
    assert len(outbox()) == 8
    assert not caplog.messages
