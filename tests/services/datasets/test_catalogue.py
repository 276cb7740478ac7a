"""Data sets of several owners: who sees what, what holds them, and when files go."""

import pytest

from services.access import LOCAL, Caller
from services.database.schema import Dataset, Job
from services.datasets import catalogue, uploads
from services.datasets.source import Upload
from services.errors import BadInputError, ConflictError, NotFoundError
from services.jobs.lifecycle import State

ANNA = Caller(owner="anna", scopes=frozenset({"write"}))
BERT = Caller(owner="bert", scopes=frozenset({"write"}))
ADMIN = Caller(owner="root", scopes=frozenset({"admin"}))


def delete(installation, dataset, caller=LOCAL):
    catalogue.delete(installation.database, installation.blobs, dataset.id, caller)


def test_an_owner_sees_their_own_data_sets_and_an_admin_all(desk, installation):
    of_anna, _ = desk.create(Upload(size=9), caller=ANNA)
    of_bert, _ = desk.create(Upload(size=9), caller=BERT)
    with installation.database.read() as session:
        listed = {
            caller.owner: [row.id for row in catalogue.list_datasets(session, caller).items]
            for caller in (ANNA, BERT, ADMIN)
        }
        assert listed == {
            "anna": [of_anna.id],
            "bert": [of_bert.id],
            "root": [of_bert.id, of_anna.id],
        }
        with pytest.raises(NotFoundError):
            catalogue.get(session, of_anna.id, BERT)
        with pytest.raises(BadInputError, match="there is no data set") as refusal:
            catalogue.referenced(session, of_anna.id, BERT, "/dataset_id")
        assert refusal.value.problems[0].pointer == "/dataset_id"
    with pytest.raises(NotFoundError):
        delete(installation, of_anna, BERT)


def test_a_data_set_can_be_named_once_it_is_ready(desk, installation, encoded, zipped):
    dataset = desk.upload(zipped({"a.png": encoded()}))
    with (
        installation.database.read() as session,
        pytest.raises(BadInputError, match="is importing, not ready"),
    ):
        catalogue.referenced(session, dataset.id, LOCAL, "/dataset_id")
    desk.run(dataset)
    with installation.database.read() as session:
        assert catalogue.referenced(session, dataset.id, LOCAL, "/dataset_id").images == 1


def test_a_file_goes_with_the_last_data_set_that_has_it(desk, installation, encoded, zipped):
    first = desk.run(desk.upload(zipped({"a.png": encoded(1), "b.png": encoded(2)})))
    second = desk.run(desk.upload(zipped({"c.png": encoded(2)}), caller=LOCAL))
    assert len(installation.blobs.keys("datasets")) == 2
    assert len(installation.blobs.keys("sheets")) == 2
    delete(installation, first)
    with installation.database.read() as session:
        (picture,) = catalogue.pictures(session, installation.blobs, second.id)
    assert picture.read().shape == (40, 60, 3)
    assert installation.blobs.keys("datasets") == [catalogue.image_key(picture.digest)]
    delete(installation, second)
    assert installation.blobs.keys("") == []


def test_what_is_being_uploaded_can_be_deleted(desk, installation):
    dataset, _ = desk.create(Upload(size=9))
    uploads.append(installation, dataset.id, 0, b"abc", LOCAL)
    delete(installation, dataset)
    assert installation.blobs.keys("") == []
    with pytest.raises(NotFoundError):
        uploads.append(installation, dataset.id, 3, b"def", LOCAL)
    assert installation.blobs.keys("") == []


def test_a_data_set_that_a_job_uses_stays(desk, installation, encoded, zipped):
    dataset = desk.upload(zipped({"a.png": encoded()}))
    with pytest.raises(ConflictError, match=f"is used by job {dataset.job_id}"):
        delete(installation, dataset)
    dataset = desk.run(dataset)
    with installation.database.write() as session:
        job = session.get_one(Job, dataset.job_id)
        job.state = State.RUNNING
        job.spec = {"type": "restoration_training", "validation_dataset_id": dataset.id}
    with pytest.raises(ConflictError, match="not finished"):
        delete(installation, dataset)
    with installation.database.write() as session:
        session.get_one(Job, dataset.job_id).state = State.SUCCEEDED
    delete(installation, dataset)


def test_while_something_is_imported_no_file_goes(desk, installation, encoded, zipped):
    """An import may have stored the same picture, and not yet its row."""
    old = desk.run(desk.upload(zipped({"a.png": encoded(1)})))
    coming = desk.upload(zipped({"b.png": encoded(1)}))
    delete(installation, old)
    catalogue.sweep(installation.database, installation.blobs)
    assert len(installation.blobs.keys("datasets")) == 1
    coming = desk.run(coming)
    with installation.database.read() as session:
        (picture,) = catalogue.pictures(session, installation.blobs, coming.id)
    assert picture.read().shape == (40, 60, 3)


def test_a_sweep_takes_what_nobody_has(desk, installation, encoded, zipped):
    ready = desk.run(desk.upload(zipped({"a.png": encoded(1)})))
    half, _ = desk.create(Upload(size=9))
    kept = installation.blobs.keys("")
    part = f"uploads/{half.id}/000000000000000-aa"
    installation.blobs.put(part, b"may yet be needed")
    for litter in (
        f"uploads/{ready.id}/000000000000000-bb",
        "uploads/ds_gone/000000000000000-cc",
        "datasets/0123.png",
        "sheets/ds_gone.png",
    ):
        installation.blobs.put(litter, b"litter")
    catalogue.sweep(installation.database, installation.blobs)
    assert installation.blobs.keys("") == sorted([*kept, part])


def test_a_job_that_is_deleted_leaves_the_data_set(desk, installation, encoded, zipped):
    dataset = desk.run(desk.upload(zipped({"a.png": encoded()})))
    with installation.database.write() as session:
        session.delete(session.get_one(Job, dataset.job_id))
    with installation.database.read() as session:
        row = session.get_one(Dataset, dataset.id)
        assert row.job_id is None
        assert catalogue.describe(session, [row])[0].state == "ready"
