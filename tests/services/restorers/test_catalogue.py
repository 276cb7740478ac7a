"""Models in the catalogue, beside those who use them."""

from pathlib import Path

import pytest

from services.access import LOCAL, Caller
from services.database.schema import Image, Model
from services.errors import BadInputError, ConflictError, NotFoundError
from services.installation import Installation
from services.jobs import requests
from services.jobs.submission import submit
from services.restoration.spec import Restoration
from services.restorers import catalogue


def test_a_model_is_its_owners_and_the_admins(installation: Installation, model: Model) -> None:
    with installation.database.read() as session:
        assert catalogue.get(session, model.id, LOCAL).name == "denoiser"
        assert [row.id for row in catalogue.list_models(session, LOCAL).items] == [model.id]
        stranger = Caller("eve", frozenset({"write"}))
        assert catalogue.list_models(session, stranger).items == []
        with pytest.raises(NotFoundError, match=model.id):
            catalogue.get(session, model.id, stranger)
        with pytest.raises(BadInputError, match=f"there is no model {model.id}") as caught:
            catalogue.referenced(session, model.id, stranger, "/model_id")
    assert [problem.pointer for problem in caught.value.problems] == ["/model_id"]


def test_its_files_are_found_by_format(installation: Installation, model: Model) -> None:
    with installation.database.read() as session:
        file = catalogue.file(session, model.id, "safetensors")
        assert (file.sha256, file.blob) == (model.sha256, f"models/{model.sha256}.safetensors")
        with pytest.raises(NotFoundError, match="no file in format onnx"):
            catalogue.file(session, model.id, "onnx")


def test_a_model_that_an_unfinished_job_uses_is_not_deleted(
    installation: Installation, model: Model, seed_image: Image
) -> None:
    database, blobs = installation.database, installation.blobs
    spec = Restoration(model_id=model.id, image_ids=(seed_image.id,))
    with database.write() as session:
        job = submit(session, spec, caller=LOCAL)
    with pytest.raises(ConflictError, match=f"model {model.id} is used by job {job.id}"):
        catalogue.delete(database, blobs, model.id, LOCAL)
    with database.write() as session:
        requests.cancel(session, job.id, LOCAL)
    catalogue.delete(database, blobs, model.id, LOCAL)
    assert blobs.keys("models") == []
    with database.write() as session, pytest.raises(ConflictError, match="cannot be retried"):
        requests.retry(session, job.id, LOCAL)


def test_files_that_were_put_early_are_there_in_the_end(
    installation: Installation, model: Model, tmp_path: Path
) -> None:
    database, blobs = installation.database, installation.blobs
    content = blobs.get(f"models/{model.sha256}.safetensors")
    (tmp_path / "safetensors").write_bytes(content)
    contents = {"safetensors": tmp_path / "safetensors"}
    put = catalogue.put(blobs, contents)
    assert put["safetensors"].sha256 == model.sha256
    catalogue.delete(database, blobs, model.id, LOCAL)  # the same file of another model
    assert blobs.keys("models") == []
    with database.write() as session:
        stored = catalogue.store(session, blobs, contents, put=put)
    assert stored == put
    assert blobs.get(put["safetensors"].blob) == content
