"""`kill -9` of the job process in the middle of an import."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image
from skimage import data

from services.access import LOCAL
from services.database.schema import Dataset
from services.datasets import catalogue, uploads
from services.datasets.source import Upload

WORKER = ("-m", "workers")
PHOTO = np.ascontiguousarray(data.astronaut()[:64, :96])


def archive(count: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for place in range(count):
            png = io.BytesIO()
            Image.fromarray(np.roll(PHOTO, place, axis=1)).save(png, "PNG")
            packed.writestr(f"{place:03}.png", png.getvalue())
    return content.getvalue()


def submit(house, content: bytes) -> Dataset:
    """A data set whose archive has arrived, and whose import is announced."""
    with house.installation.database.write() as session:
        dataset, _ = uploads.create(
            session,
            house.installation,
            Upload(size=len(content)),
            name="photographs",
            on_bad_file="skip",
            caller=LOCAL,
        )
    dataset, job = uploads.append(house.installation, dataset.id, 0, content, LOCAL)
    assert house.dispatcher.announce(job.id, job.type)
    return dataset


@pytest.mark.slow
def test_a_killed_import_ends_once_with_every_picture(house):
    content = archive(24)
    house.worker(WORKER)
    undisturbed, killed = submit(house, content), submit(house, content)
    assert house.wait_for_end(undisturbed.job_id, seconds=120).state == "succeeded"

    house.wait(killed.job_id, lambda job: job.checkpoint is not None, seconds=60)
    house.process(killed.job_id).kill()

    assert house.wait_for_end(killed.job_id, seconds=120).state == "succeeded"
    assert house.states(killed.job_id) == ["queued", "running", "queued", "running", "succeeded"]
    with house.installation.database.read() as session:
        expected, row = (session.get_one(Dataset, each.id) for each in (undisturbed, killed))
        pictures = catalogue.pictures(session, house.installation.blobs, killed.id)
    assert (row.images, row.digest) == (24, expected.digest)
    for place, picture in enumerate(pictures):
        np.testing.assert_array_equal(picture.read(), np.roll(PHOTO, place, axis=1))
    house.wait_until_swept()
    assert house.installation.blobs.keys("uploads") == []
