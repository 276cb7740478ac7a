"""Sweeping beside those who store: what somebody has just referred to stays."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from skimage import data

from services.access import LOCAL
from services.blobs import Blobs
from services.database.schema import JobSample, now
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


def test_a_sample_of_a_job_that_is_retried_meanwhile_stays(
    installation, seed_image, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = {"seed_image_ids": [seed_image.id], "task": {"kind": "sisr"}, "preset": "quick"}
    with installation.database.write() as session:
        job = submit(session, DiscriminatorTraining.model_validate(spec), caller=LOCAL)
        requests.cancel(session, job.id, LOCAL)
    key = f"samples/{job.id}/1-1-map.png"
    installation.blobs.put(key, b"left by a crash")
    make_old(installation, key)
    (found,) = orphans.find(installation)
    monkeypatch.setattr(orphans, "find", lambda _: [found])  # and then it is retried
    with installation.database.write() as session:
        requests.retry(session, job.id, LOCAL)
    assert orphans.sweep(installation) == []
    with installation.database.write() as session:
        place = {"scale": 1, "step": 1, "kind": "map"}
        session.add(JobSample(id="smp", job_id=job.id, **place, blob=key, created=now()))
        requests.cancel(session, job.id, LOCAL)
    assert orphans.sweep(installation) == []
    assert installation.blobs.has(key)


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
    assert bucket.blobs.keys("") == [seed_image.blob]
