"""The ends of jobs become messages, and each message is taken once, on either database."""

import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from services.access import LOCAL, Caller
from services.database.schema import Job, WebhookDelivery
from services.jobs import requests
from services.webhooks import catalogue, outbox
from services.webhooks.courier import AT_ONCE, OF_ONE_OWNER, Courier

OWNERS = ("anna", "ben", "eve")


def test_couriers_that_look_at_once_share_the_messages_of_all_owners(desk, installation):
    settings = installation.settings
    for owner in OWNERS:
        caller = Caller(owner=owner, scopes=frozenset({"write"}))
        with installation.database.write() as session:
            catalogue.create(session, settings, caller=caller, url="https://hooks.example/")
        for _ in range(6):
            job = desk.submit()
            with installation.database.write() as session:
                session.get_one(Job, job.id).owner = owner
            with installation.database.write() as session:
                requests.cancel(session, job.id, LOCAL)

    couriers = [Courier(installation) for _ in range(4)]
    with ThreadPoolExecutor(len(couriers)) as pool:
        taken = list(pool.map(lambda each: each._take(AT_ONCE, Counter()), couriers))
        again = list(pool.map(lambda each: each._take(AT_ONCE, Counter()), couriers))
    for parcels in (*taken, *again):  # in each courier's hands
        owners = Counter(parcel.owner for parcel in parcels)
        assert all(count <= OF_ONE_OWNER for count in owners.values())
    ids = [parcel.id for parcel in itertools.chain(*taken, *again)]
    with installation.database.read() as session:
        stored = session.scalars(select(WebhookDelivery.id)).all()
    assert sorted(ids) == sorted(stored)
    assert len(stored) == 6 * len(OWNERS)


def test_sweeps_at_once_forget_what_is_too_much_and_no_more(desk, installation, monkeypatch):
    monkeypatch.setattr(outbox, "WAITING_KEPT", 30)
    monkeypatch.setattr(outbox, "_BATCH", 10)
    with installation.database.write() as session:
        webhook, _ = catalogue.create(
            session, installation.settings, caller=LOCAL, url="https://hooks.example/"
        )
        told = []
        for _ in range(200):
            told.append(outbox.add(session, webhook, outbox.PING, {}).id)
            session.flush()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: outbox.trim(installation.database), range(4)))
    with installation.database.read() as session:
        assert sorted(session.scalars(select(WebhookDelivery.id))) == sorted(told)[-30:]


def test_a_webhook_that_is_deleted_while_a_job_ends_hinders_neither(desk, installation):
    ended = []
    for _ in range(5):
        with installation.database.write() as session:
            webhook, _ = catalogue.create(
                session, installation.settings, caller=LOCAL, url="https://hooks.example/"
            )
        job = desk.submit()

        def cancel(job: Job = job) -> None:
            ended.append(desk.ask(requests.cancel, job).state)

        def delete(webhook_id: str = webhook.id) -> None:
            with installation.database.write() as session:
                catalogue.delete(session, webhook_id, LOCAL)

        with ThreadPoolExecutor(2) as pool:
            for future in [pool.submit(cancel), pool.submit(delete)]:
                future.result()
    assert ended == ["canceled"] * 5
    with installation.database.read() as session:
        assert session.scalars(select(WebhookDelivery)).all() == []
