"""Images of several owners: who sees what, and when a blob goes."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from skimage import data
from sqlalchemy import event
from sqlalchemy.orm import Session

from services.access import LOCAL, Caller
from services.blobs import BlobMissingError
from services.database.schema import Image
from services.errors import ConflictError, NotFoundError, StorageError
from services.images import catalogue
from services.images.decoding import DecodedImage, Limits, decode
from services.installation import Installation
from services.jobs import requests, submission
from services.phase1.recipe import DiscriminatorTraining

ANNA = Caller(owner="anna", scopes=frozenset({"read", "write"}))
BERT = Caller(owner="bert", scopes=frozenset({"read", "write"}))
ADMIN = Caller(owner="root", scopes=frozenset({"admin"}))


@pytest.fixture
def rocket() -> DecodedImage:
    return catalogue.from_pixels(np.ascontiguousarray(data.rocket()[:64, :64]), {"made": "here"})


def add(installation: Installation, decoded: DecodedImage, caller: Caller) -> tuple[Image, bool]:
    with installation.database.write() as session:
        return catalogue.add(session, installation.blobs, decoded, name="rocket.png", caller=caller)


def delete(installation: Installation, image: Image, caller: Caller) -> None:
    catalogue.delete(installation.database, installation.blobs, image.id, caller)


def test_an_owner_has_the_same_pixels_once(
    installation: Installation, rocket: DecodedImage
) -> None:
    first, created = add(installation, rocket, ANNA)
    second, created_again = add(installation, rocket, ANNA)
    assert (created, created_again) == (True, False)
    assert second.id == first.id
    assert installation.blobs.keys("images") == [f"images/{rocket.digest}.png"]
    np.testing.assert_array_equal(
        catalogue.pixels(installation.blobs.get(first.blob)), data.rocket()[:64, :64]
    )


@pytest.mark.parametrize("damage", ["missing", "cut short", "another byte", "lost sector"])
def test_an_upload_mends_the_file_of_all_who_have_those_pixels(
    installation: Installation,
    rocket: DecodedImage,
    damage: str,
    lose_sector: Callable[[Path], None],
) -> None:
    image, _ = add(installation, rocket, ANNA)
    match damage:
        case "missing":
            installation.blobs.delete(image.blob)
        case "cut short":
            installation.blobs.put(image.blob, rocket.png[:-9])
        case "lost sector":
            assert installation.blobs.folder is not None
            lose_sector(installation.blobs.folder / image.blob)
        case _:
            installation.blobs.put(image.blob, rocket.png[:-9] + b"!" + rocket.png[-8:])
    fault = "is missing|is damaged|cannot be read"
    with pytest.raises(StorageError, match=f"the file of image {image.id} ({fault}): "):
        catalogue.read(installation.blobs, image)
    encoded_otherwise = io.BytesIO()
    PIL.Image.open(io.BytesIO(rocket.png)).save(encoded_otherwise, "PNG", compress_level=9)
    again = replace(rocket, png=encoded_otherwise.getvalue())
    if damage == "another byte":  # of another's file, no more than the size is looked at
        assert not add(installation, again, ANNA)[1]
    of_bert, created = add(installation, again, BERT)
    assert created
    image, created = add(installation, rocket, ANNA)
    assert not created
    for each in (image, of_bert):
        assert each.size == len(again.png)
        assert catalogue.read(installation.blobs, each) == again.png


def test_the_size_of_an_upload_does_not_tell_that_somebody_has_made_those_pixels(
    installation: Installation, rocket: DecodedImage
) -> None:
    uploaded = decode(rocket.png, Limits.of(installation.settings))
    assert (uploaded.png, uploaded.digest) == (rocket.png, rocket.digest)


def test_an_owner_sees_their_own_images_and_an_admin_all(
    installation: Installation, rocket: DecodedImage
) -> None:
    of_anna, _ = add(installation, rocket, ANNA)
    of_bert, _ = add(installation, rocket, BERT)
    assert of_anna.id != of_bert.id
    with installation.database.read() as session:
        listed = {
            caller.owner: [row.id for row in catalogue.list_images(session, caller).items]
            for caller in (ANNA, BERT, ADMIN)
        }
        assert listed == {
            "anna": [of_anna.id],
            "bert": [of_bert.id],
            "root": [of_bert.id, of_anna.id],
        }
        with pytest.raises(NotFoundError):
            catalogue.get(session, of_anna.id, BERT)


def test_a_blob_goes_with_the_last_image_that_has_it(
    installation: Installation, rocket: DecodedImage
) -> None:
    of_anna, _ = add(installation, rocket, ANNA)
    of_bert, _ = add(installation, rocket, BERT)
    with pytest.raises(NotFoundError):
        delete(installation, of_anna, BERT)
    delete(installation, of_anna, ANNA)
    assert installation.blobs.get(of_bert.blob) == rocket.png
    delete(installation, of_bert, BERT)
    with pytest.raises(BlobMissingError):
        installation.blobs.get(of_bert.blob)


def test_an_image_that_an_unfinished_job_needs_is_kept(
    installation: Installation, seed_image: Image
) -> None:
    spec = DiscriminatorTraining.model_validate(
        {"seed_image_ids": [seed_image.id], "task": {"kind": "jpeg"}, "preset": "quick"}
    )
    with installation.database.write() as session:
        job = submission.submit(session, spec, caller=LOCAL)
    with pytest.raises(ConflictError, match=f"is used by job {job.id}"):
        delete(installation, seed_image, LOCAL)
    with installation.database.write() as session:
        requests.cancel(session, job.id, LOCAL)
    delete(installation, seed_image, LOCAL)
    assert installation.blobs.keys("images") == []


def test_an_image_is_kept_for_another_owners_job_too(
    installation: Installation, rocket: DecodedImage
) -> None:
    image, _ = add(installation, rocket, ANNA)
    spec = DiscriminatorTraining.model_validate(
        {"seed_image_ids": [image.id], "task": {"kind": "jpeg"}, "preset": "quick"}
    )
    with installation.database.write() as session:
        submission.submit(session, spec, caller=ADMIN)
    with pytest.raises(ConflictError, match="is being used by the service's administrators"):
        delete(installation, image, ANNA)


def test_a_job_that_gets_in_first_keeps_its_image(
    installation: Installation, seed_image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on PostgreSQL, where the deletion waits in `hold` for a submission to commit."""
    spec = DiscriminatorTraining.model_validate(
        {"seed_image_ids": [seed_image.id], "task": {"kind": "jpeg"}, "preset": "quick"}
    )
    monkeypatch.setattr(
        catalogue, "hold", lambda session, _: submission.submit(session, spec, caller=LOCAL)
    )
    with pytest.raises(ConflictError, match="is used by job"):
        delete(installation, seed_image, LOCAL)


def test_a_deletion_that_does_not_commit_keeps_the_blob(
    installation: Installation, rocket: DecodedImage
) -> None:
    image, _ = add(installation, rocket, ANNA)

    def fail(_: Session) -> None:
        raise OSError("no commit")

    event.listen(Session, "before_commit", fail)
    try:
        with pytest.raises(OSError, match="no commit"):
            delete(installation, image, ANNA)
    finally:
        event.remove(Session, "before_commit", fail)
    assert installation.blobs.get(image.blob) == rocket.png
