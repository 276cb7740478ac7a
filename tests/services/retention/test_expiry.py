"""What is deleted after its time, and what stays."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from services import idempotency
from services.access import LOCAL
from services.database.schema import (
    ApiKey,
    BrowserSession,
    Dataset,
    IdempotencyKey,
    Job,
    Webhook,
    WebhookDelivery,
    now,
)
from services.datasets import uploads
from services.datasets.source import Upload
from services.jobs.submission import submit
from services.phase1.recipe import DiscriminatorTraining
from services.retention.expiry import expire
from services.settings import Settings

DAY = timedelta(days=1)


@pytest.fixture
def settings(settings):
    return Settings(**settings.model_dump() | {"keep_jobs_days": 100})


@pytest.fixture
def add_job(installation, seed_image):
    """A job that ended so many days ago, with its files."""

    def add(days, state="failed"):
        spec = {"seed_image_ids": [seed_image.id], "task": {"kind": "sisr"}, "preset": "quick"}
        with installation.database.write() as session:
            job = submit(session, DiscriminatorTraining.model_validate(spec), caller=LOCAL)
            job.state, job.finished = state, None if days is None else now() - days * DAY
            job.checkpoint = f"checkpoints/{job.id}/1-1"
            for key in (job.checkpoint, f"samples/{job.id}/1-1-map.png", f"parts/{job.id}/000000"):
                installation.blobs.put(key, b"four")
        return job.id

    return add


def row(installation, table, name):
    with installation.database.read() as session:
        return session.get(table, name)


def test_jobs_are_deleted_long_after_they_ended_with_their_files(installation, add_job):
    old, young, waiting = add_job(101), add_job(1), add_job(None, "queued")
    assert expire(installation) == 3 * 4
    assert row(installation, Job, old) is None
    assert row(installation, Job, young).checkpoint is not None
    assert row(installation, Job, waiting).state == "queued"
    assert not [key for key in installation.blobs.keys("") if old in key]
    assert expire(installation) == 0


def test_what_failed_long_ago_keeps_its_samples_and_goes_on_from_nothing(installation, add_job):
    failed, succeeded, waiting = add_job(31), add_job(31, "succeeded"), add_job(None, "queued")
    assert expire(installation) == 2 * 4
    assert row(installation, Job, failed).checkpoint is None
    left = [key.split("/")[0] for key in installation.blobs.keys("") if failed in key]
    assert left == ["samples"]
    for other in (succeeded, waiting):
        assert row(installation, Job, other).checkpoint is not None


def upload(installation, days, size=6):
    """A data set that was begun so many days ago, with a part of its archive."""
    with installation.database.write() as session:
        source = Upload(size=size)
        dataset, _ = uploads.create(
            session, installation, source, name="", on_bad_file="skip", caller=LOCAL
        )
        dataset.created = now() - days * DAY
    _, job = uploads.append(installation, dataset.id, 0, b"four", LOCAL)
    return dataset.id, job


def test_uploads_that_nobody_finishes_are_deleted(installation, age):
    silent, _ = upload(installation, 8)
    age(8 * DAY)
    slow, _ = upload(installation, 8)  # but a part has just come
    young, _ = upload(installation, 6)
    assert expire(installation) == 4
    assert row(installation, Dataset, silent) is None
    assert row(installation, Dataset, slow).received == 4
    assert row(installation, Dataset, young).received == 4
    assert len(installation.blobs.keys("uploads")) == 2


def test_archives_of_imports_that_failed_are_deleted(installation, age):
    made = {}
    for name, days in (("failed", 8), ("just failed", 1), ("waiting", None), ("deleted", 0)):
        dataset_id, job = upload(installation, 9, size=4)
        with installation.database.write() as session:
            if name == "deleted":
                session.delete(session.get_one(Job, job.id))
            elif days is not None:
                stored = session.get_one(Job, job.id)
                stored.state, stored.finished = "failed", now() - days * DAY
        made[name] = dataset_id
    age(9 * DAY)
    assert expire(installation) == 2 * 4
    there = {name for name, made_id in made.items() if row(installation, Dataset, made_id)}
    assert there == {"just failed", "waiting"}


def test_ready_data_sets_stay_for_ever(installation, add_dataset, age):
    from skimage import data

    dataset = add_dataset({"a.png": data.astronaut()[:64, :64]})
    with installation.database.write() as session:
        session.get_one(Dataset, dataset.id).created = now() - 1000 * DAY
    age(1000 * DAY)
    assert expire(installation) == 0
    assert row(installation, Dataset, dataset.id).images == 1


def test_old_answers_sessions_and_messages_are_forgotten(installation):
    moment = now()
    webhook = {"owner": "local", "name": "", "url": "http://x", "events": [], "secret": ""}
    key = {"name": "", "owner": "local", "scopes": [], "secret_hash": ""}
    with installation.database.write() as session:
        session.add(Webhook(id="hook", **webhook, created=moment))
        session.add(ApiKey(id="key", **key, created=moment))
        session.flush()
        for name, age in (("old", 2 * DAY), ("young", DAY / 2)):
            answer = idempotency.Answer(201, {})
            place = {"owner": "local", "key": name, "request_digest": ""}
            idempotency.record(session, **place, answer=answer)
            session.get_one(IdempotencyKey, ("local", name)).created = moment - age
            expires = moment + DAY - age
            session.add(
                BrowserSession(id=name, key_id="key", created=moment - age, expires=expires)
            )
        for name, days, state in (
            ("old", 31, "delivered"),
            ("lost", 31, "failed"),
            ("late", 31, "pending"),
            ("young", 29, "delivered"),
        ):
            message = {"webhook_id": "hook", "event": "ping", "content": {}, "attempts": 1}
            created = moment - days * DAY
            session.add(
                WebhookDelivery(id=name, **message, state=state, due=moment, created=created)
            )
    expire(installation)
    with installation.database.read() as session:
        assert session.scalars(select(IdempotencyKey.key)).all() == ["young"]
        assert session.scalars(select(BrowserSession.id)).all() == ["young"]
        assert set(session.scalars(select(WebhookDelivery.id))) == {"late", "young"}
        assert session.scalar(select(func.count()).select_from(Webhook)) == 1
