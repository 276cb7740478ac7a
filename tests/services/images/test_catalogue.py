"""Images of several owners: who sees what, and when a blob goes."""

import numpy as np
import pytest
from skimage import data

from services.access import LOCAL, Caller
from services.blobs import BlobMissingError
from services.database.schema import Image
from services.errors import ConflictError, NotFoundError
from services.images import catalogue
from services.images.decoding import DecodedImage
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
    with installation.database.write() as session:
        with pytest.raises(NotFoundError):
            catalogue.delete(session, installation.blobs, of_anna.id, BERT)
        catalogue.delete(session, installation.blobs, of_anna.id, ANNA)
    assert installation.blobs.get(of_bert.blob) == rocket.png
    with installation.database.write() as session:
        catalogue.delete(session, installation.blobs, of_bert.id, BERT)
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
    with (
        installation.database.write() as session,
        pytest.raises(ConflictError, match=f"a seed of job {job.id}"),
    ):
        catalogue.delete(session, installation.blobs, seed_image.id, LOCAL)
    with installation.database.write() as session:
        requests.cancel(session, job.id, LOCAL)
    with installation.database.write() as session:
        catalogue.delete(session, installation.blobs, seed_image.id, LOCAL)
    assert installation.blobs.keys("images") == []
