"""Sweeping beside those who store: what somebody has just referred to stays."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta

import pytest
from skimage import data
from sqlalchemy import delete

from services.access import LOCAL
from services.blobs import Blobs
from services.database import Database
from services.database.schema import Image, now
from services.errors import ConflictError
from services.images import catalogue as images
from services.installation import Installation
from services.jobs import requests
from services.jobs.submission import submit
from services.losses import catalogue as losses
from services.phase1.recipe import DiscriminatorTraining
from services.retention import orphans

PICTURE = images.from_pixels(data.coffee()[:64, :64], {})


def make_old(installation: Installation, key: str) -> None:
    with suppress(FileNotFoundError):  # taken for the one before it
        os.utime(installation.blobs.folder / key, (0, 0))


def sweeping(installation: Installation, store: Callable[[], None]) -> None:
    """Store again and again while others sweep without a pause."""
    stopping = threading.Event()
    faults: list[BaseException] = []

    def sweep() -> None:
        try:
            while not stopping.is_set():
                orphans.sweep(installation)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(25):
            store()
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    assert faults == []


def test_an_upload_of_the_same_pixels_finds_or_stores_its_file(installation) -> None:
    key = images.blob_key(PICTURE.digest)

    def store() -> None:
        installation.blobs.put(key, PICTURE.png)  # left by a crash, long ago
        make_old(installation, key)
        with installation.database.write() as session:
            image, _ = images.add(session, installation.blobs, PICTURE, name="a.png", caller=LOCAL)
        assert installation.blobs.get(key) == PICTURE.png
        images.delete(installation.database, installation.blobs, image.id, LOCAL)

    sweeping(installation, store)


def test_an_import_of_the_same_loss_finds_or_stores_its_file(installation) -> None:
    contents = {"safetensors": b"a loss"}

    def store() -> None:
        for file in losses.put(installation.blobs, contents).values():
            make_old(installation, file.blob)
        with installation.database.write() as session:
            files = losses.store(session, installation.blobs, contents)
            loss = losses.add_imported(session, caller=LOCAL, name="a", manifest={}, files=files)
        assert installation.blobs.get(files["safetensors"].blob) == b"a loss"
        losses.delete(installation.database, installation.blobs, loss.id, LOCAL)

    sweeping(installation, store)


def test_a_database_that_knows_few_of_the_files_sweeps_none_of_them(
    installation, seed_image, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(orphans, "AGE", timedelta(seconds=-5))
    for number in range(21):  # those of another database, or of a newer state of this one
        installation.blobs.put(f"images/{number}.png", b"four")
        installation.blobs.put(f"elsewhere/{number}", b"of another program")
    assert orphans.sweep(installation) == []
    assert len(installation.blobs.keys("images")) == 22
    assert "nothing is swept: 21 of 22 files would go. Is this the database of" in caplog.text
    with pytest.raises(ConflictError, match="mdf storage --sweep --force"):
        orphans.remove(installation)
    assert len(orphans.remove(installation, however_many=True)) == 21
    assert installation.blobs.keys("images") == [seed_image.blob]


def test_a_few_files_or_less_than_half_of_all_are_swept(
    installation, seed_image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "AGE", timedelta(seconds=-5))
    for number in range(20):
        installation.blobs.put(f"images/{number}.png", b"left by a crash")
    assert len(orphans.sweep(installation)) == 20
    keep_thirty(installation)
    for number in range(31):
        installation.blobs.put(f"images/{number}.png", b"left by a crash")
    assert len(orphans.sweep(installation)) == 31
    assert len(installation.blobs.keys("images")) == 31


def keep_thirty(installation: Installation) -> None:
    """Store 30 files, each with a row."""
    with installation.database.write() as session:
        for number in range(30):
            place = {"name": "", "digest": f"kept {number}", "width": 1, "height": 1}
            file = {"blob": f"images/kept {number}.png", "size": 4, "sha256": ""}
            made = {"id": f"img_{number}", "owner": "local", "source": {}, "created": now()}
            session.add(Image(**place, **file, **made))
            installation.blobs.put(f"images/kept {number}.png", b"four")


def forget_all(installation: Installation) -> None:
    """As deletions that are killed between their commit and the removal of the files."""
    with installation.database.write() as session:
        session.execute(delete(Image))


@contextmanager
def with_copied_database(installation: Installation) -> Iterator[Installation]:
    """The same files beside what their database is now, whatever becomes of that."""
    path = installation.settings.home_folder / "copy.sqlite"
    live = installation.settings.home_folder / "mdf.sqlite"
    with closing(sqlite3.connect(live)) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
    database = Database(f"sqlite:///{path}")
    yield Installation(installation.settings, database, installation.blobs)
    database.close()


def test_what_a_killed_deletion_has_left_is_swept_however_much_it_is(installation, age) -> None:
    keep_thirty(installation)
    age(timedelta(hours=2))
    assert orphans.sweep(installation) == []
    forget_all(installation)
    assert len(orphans.sweep(installation)) == 30
    assert installation.blobs.keys("images") == []


def test_an_older_copy_of_the_database_sweeps_nothing_also_once_it_is_used(
    installation, age, caplog: pytest.LogCaptureFixture
) -> None:
    assert orphans.sweep(installation) == []
    with with_copied_database(installation) as older:
        keep_thirty(installation)
        age(timedelta(hours=2))
        assert orphans.sweep(installation) == []
        with older.database.write() as session:
            images.add(session, older.blobs, PICTURE, name="a.png", caller=LOCAL)
        age(timedelta(hours=2))
        for _ in range(2):
            assert orphans.sweep(older) == []
        assert "nothing is swept: 30 of 31 files would go" in caplog.text
        assert len(orphans.sweep(installation)) == 1  # the picture of the copy


def test_a_copy_of_after_the_last_sweep_sweeps_nothing_of_what_came_then(
    installation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert orphans.sweep(installation) == []
    with with_copied_database(installation) as older:
        keep_thirty(installation)
        monkeypatch.setattr(orphans, "now", lambda: now() + timedelta(hours=2))
        assert orphans.sweep(older) == []
    assert "nothing is swept: 30 of 30 files would go" in caplog.text


def test_a_new_database_sweeps_nothing(installation, age, caplog: pytest.LogCaptureFixture) -> None:
    with with_copied_database(installation) as new:
        keep_thirty(installation)
        age(timedelta(hours=2))
        assert orphans.sweep(installation) == []
        for _ in range(2):
            assert orphans.sweep(new) == []
    assert "nothing is swept: 30 of 30 files would go" in caplog.text
    assert len(installation.blobs.keys("images")) == 30


def test_a_disk_that_is_full_is_swept_all_the_same(installation, age) -> None:
    for number in range(3):
        installation.blobs.put(f"images/{number}.png", b"left by a crash")
    age(timedelta(hours=2))
    full = Blobs(installation.blobs.folder, floor_bytes=1 << 62)
    beside = Installation(installation.settings, installation.database, full)
    assert len(orphans.sweep(beside)) == 3


def test_any_number_of_files_of_a_job_that_is_known_is_swept(
    installation, seed_image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "AGE", timedelta(seconds=-5))
    spec = {"seed_image_ids": [seed_image.id], "task": {"kind": "sisr"}, "preset": "quick"}
    with installation.database.write() as session:
        job = submit(session, DiscriminatorTraining.model_validate(spec), caller=LOCAL)
        requests.cancel(session, job.id, LOCAL)
    for number in range(30):
        installation.blobs.put(f"samples/{job.id}/1-{number}-map.png", b"left by a crash")
    assert len(orphans.sweep(installation)) == 30


def test_buckets_are_swept_as_folders_are(
    installation, seed_image, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Installation(installation.settings, installation.database, Blobs("memory:///"))
    bucket.blobs.put(seed_image.blob, b"needed")
    for key in ("images/a.png", "losses/b.pt2", "checkpoints/job_gone/1-1", "uploads/ds_gone/0-a"):
        bucket.blobs.put(key, b"four")
    assert orphans.sweep(bucket) == []
    monkeypatch.setattr(orphans, "AGE", timedelta(seconds=-5))
    assert sum(entry.size for entry in orphans.sweep(bucket)) == 4 * 4
    assert bucket.blobs.keys("") == [seed_image.blob, "sweeps/last"]
