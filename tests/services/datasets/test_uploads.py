"""Archives that arrive in parts, from people who are interrupted and from several at once."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy import select

from services.access import LOCAL, Caller
from services.database.schema import DatasetPart, Job
from services.datasets import catalogue, uploads
from services.datasets.source import Folder, Upload
from services.errors import (
    ConflictError,
    DiskFullError,
    NotFoundError,
    TooLargeError,
)
from services.settings import Settings

ANNA = Caller(owner="anna", scopes=frozenset({"write"}))
BERT = Caller(owner="bert", scopes=frozenset({"write"}))
ADMIN = Caller(owner="root", scopes=frozenset({"admin"}))


def state(installation, dataset):
    with installation.database.read() as session:
        row = catalogue.get(session, dataset.id, ADMIN)
        return catalogue.describe(session, [row])[0].state


def append(installation, dataset, offset, content, caller=LOCAL):
    return uploads.append(installation, dataset.id, offset, content, caller)


def test_an_upload_is_whole_when_its_last_byte_is_there(desk, installation, encoded, zipped):
    content = zipped({"a.png": encoded()})
    dataset, job = desk.create(Upload(size=len(content)))
    assert (job, state(installation, dataset)) == (None, "uploading")
    for start in range(0, len(content), 1000):
        dataset, job = append(installation, dataset, start, content[start : start + 1000])
    assert dataset.received == len(content)
    assert (job.type, job.id, job.owner) == ("dataset_import", dataset.job_id, "local")
    assert state(installation, dataset) == "importing"
    assert desk.run(dataset).images == 1
    assert state(installation, dataset) == "ready"


def test_a_part_at_the_wrong_place_is_refused_and_the_right_one_named(desk, installation):
    dataset, _ = desk.create(Upload(size=100))
    append(installation, dataset, 0, bytes(40))
    for offset in (0, 39, 41, 99):
        with pytest.raises(ConflictError, match=f"Upload-Offset: 40`, not {offset}"):
            append(installation, dataset, offset, b"x")
    with pytest.raises(TooLargeError, match="ends at byte 101, but the archive was announced with"):
        append(installation, dataset, 40, bytes(61))
    assert len(installation.blobs.keys("uploads")) == 1
    assert desk.row(dataset).received == 40


def test_of_several_that_send_the_same_part_one_is_heard(desk, installation):
    dataset, _ = desk.create(Upload(size=100))
    heard, refused = [], []
    start = threading.Barrier(8)

    def send(sign: int) -> None:
        content = bytes([sign]) * (10 + sign)
        start.wait()
        try:
            append(installation, dataset, 0, content)
            heard.append(content)
        except ConflictError:
            refused.append(content)

    threads = [threading.Thread(target=send, args=(sign,)) for sign in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(heard), len(refused)) == (1, 7)
    with installation.database.read() as session:
        (part,) = catalogue.parts(session, dataset.id)
    assert installation.blobs.get(part.blob) == heard[0]
    assert desk.row(dataset).received == part.size == len(heard[0])
    assert installation.blobs.keys("uploads") == [part.blob]


def test_a_deleted_import_is_asked_for_again_by_an_empty_part(desk, installation, encoded, zipped):
    content = zipped({"a.png": encoded()})
    dataset = desk.upload(content)
    with installation.database.write() as session:
        session.delete(session.get_one(Job, dataset.job_id))
    with installation.database.read() as session:
        (described,) = catalogue.describe(session, [desk.row(dataset)])
    assert (described.state, described.error) == (
        "failed",
        "its import was deleted before it was done",
    )
    dataset, job = append(installation, dataset, len(content), b"")
    assert job is not None
    assert append(installation, dataset, len(content), b"")[1] is None
    assert desk.run(dataset).images == 1


def test_an_archive_that_will_not_fit_is_refused_before_a_byte_is_sent(desk, installation):
    with pytest.raises(TooLargeError, match="at most 68719476736 are accepted"):
        desk.create(Upload(size=(64 << 30) + 1))
    installation.blobs._floor = 1 << 60
    with pytest.raises(DiskFullError):
        desk.create(Upload(size=1000))
    with installation.database.read() as session:
        assert catalogue.list_datasets(session, LOCAL).items == []


def test_offsets_may_lie_beyond_four_gibibytes(desk, installation):
    dataset, _ = desk.create(Upload(size=6 << 30))
    with installation.database.write() as session:
        catalogue.get(session, dataset.id, LOCAL).received = 5 << 30
    dataset, _ = append(installation, dataset, 5 << 30, b"here")
    assert dataset.received == (5 << 30) + 4
    with installation.database.read() as session:
        assert session.scalar(select(DatasetPart.offset)) == 5 << 30


def test_an_upload_belongs_to_its_owner(desk, installation):
    dataset, _ = desk.create(Upload(size=3), caller=ANNA)
    with pytest.raises(NotFoundError):
        append(installation, dataset, 0, b"abc", BERT)
    assert installation.blobs.keys("uploads") == []
    _, job = append(installation, dataset, 0, b"abc", ADMIN)
    assert job.owner == "anna"


def test_nothing_is_uploaded_to_a_folders_data_set(desk, installation, tmp_path):
    allowed = replace(
        installation, settings=Settings(home=tmp_path / "home", dataset_roots=str(tmp_path))
    )
    desk.installation = allowed
    dataset, job = desk.create(Folder(location=str(tmp_path)))
    assert job.spec == {"type": "dataset_import", "dataset_id": dataset.id}
    assert dataset.source == {"kind": "folder", "location": str(tmp_path.resolve())}
    with pytest.raises(ConflictError, match="imported from a folder"):
        append(installation, dataset, 0, b"x")


def test_no_import_begins_below_the_floor(desk, installation, tmp_path, encoded, zipped):
    content = zipped({"a.png": encoded()})
    dataset = desk.upload(content)
    with installation.database.write() as session:
        session.delete(session.get_one(Job, dataset.job_id))
    desk.installation = replace(
        installation, settings=Settings(home=tmp_path / "home", dataset_roots=str(tmp_path))
    )
    installation.blobs._floor = 1 << 60
    with pytest.raises(DiskFullError, match="MDF_DISK_FLOOR_BYTES"):
        desk.folder(tmp_path)
    with pytest.raises(DiskFullError, match="MDF_DISK_FLOOR_BYTES"):
        append(installation, dataset, len(content), b"")
    with installation.database.read() as session:
        assert [each.id for each in catalogue.list_datasets(session, LOCAL).items] == [dataset.id]
        assert session.scalars(select(Job.id)).all() == []
    installation.blobs._floor = 0
    assert desk.folder(tmp_path).job_id is not None
    assert append(installation, dataset, len(content), b"")[1] is not None
