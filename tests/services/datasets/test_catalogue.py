"""Data sets of several owners: who sees what, what holds them, and when files go."""

import os

import pytest
from sqlalchemy import func, select

from services.access import LOCAL, Caller
from services.database.schema import Dataset, DatasetReservation, Job
from services.datasets import catalogue, uploads
from services.datasets.source import Upload
from services.errors import BadInputError, ConflictError, NotFoundError
from services.jobs.lifecycle import State
from services.retention import orphans
from services.run import Signal

ANNA = Caller(owner="anna", scopes=frozenset({"write"}))
BERT = Caller(owner="bert", scopes=frozenset({"write"}))
ADMIN = Caller(owner="root", scopes=frozenset({"admin"}))


def delete(installation, dataset, caller=LOCAL):
    return catalogue.delete(installation.database, installation.blobs, dataset.id, caller)


def age(installation):
    """Let all files be old."""
    for file in installation.blobs.folder.rglob("*"):
        os.utime(file, (0, 0))


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


def test_what_an_unfinished_import_has_stored_or_found_stays_and_nothing_else(
    desk, installation, encoded, zipped
):
    """Its rows are written in the end."""
    old = desk.run(desk.upload(zipped({"a.png": encoded(1), "only here.png": encoded(99)})))
    files = {f"{place:02}.png": encoded(place) for place in range(12)}
    coming = desk.upload(zipped(files))
    desk.run_until(coming, at=10, signal=Signal.PAUSE)
    stored = set(installation.blobs.keys("datasets"))
    assert 4 < len(stored) < 13
    freed = delete(installation, old)
    age(installation)
    assert orphans.sweep(installation) == []
    left = set(installation.blobs.keys("datasets"))
    assert len(stored - left) == 1  # the picture that was in the old one alone
    assert freed > 0
    coming = desk.run(coming)
    with installation.database.read() as session:
        found = catalogue.pictures(session, installation.blobs, coming.id)
        assert session.scalar(select(func.count()).select_from(DatasetReservation)) == 0
    assert [picture.read().shape for picture in found] == [(40, 60, 3)] * 12


def test_a_sweep_takes_what_nobody_has(desk, installation, encoded, zipped):
    ready = desk.run(desk.upload(zipped({"a.png": encoded(1)})))
    half, _ = desk.create(Upload(size=9))
    kept = installation.blobs.keys("")
    uploads.append(installation, half.id, 0, b"needed", LOCAL)
    (part,) = installation.blobs.keys("uploads")
    for litter in (
        f"uploads/{half.id}/000000000000006-aa",
        f"uploads/{ready.id}/000000000000000-bb",
        "uploads/ds_gone/000000000000000-cc",
        "datasets/0123.png",
        "sheets/ds_gone.png",
    ):
        installation.blobs.put(litter, b"litter")
    age(installation)
    young = "datasets/4567.png"
    installation.blobs.put(young, b"whose row is about to be written")
    swept = orphans.sweep(installation)
    assert sum(entry.size for entry in swept) == 5 * len(b"litter")
    assert installation.blobs.keys("") == sorted([*kept, part, young, "sweeps/last"])


def test_a_job_that_is_deleted_leaves_the_data_set(desk, installation, encoded, zipped):
    dataset = desk.run(desk.upload(zipped({"a.png": encoded()})))
    with installation.database.write() as session:
        session.delete(session.get_one(Job, dataset.job_id))
    with installation.database.read() as session:
        row = session.get_one(Dataset, dataset.id)
        assert row.job_id is None
        assert catalogue.describe(session, [row])[0].state == "ready"
