"""What each type of job needs, checked at the door."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, update

from services.access import LOCAL, Caller
from services.database.schema import Dataset, DatasetImage, Image, Job, Loss, Model, now
from services.errors import BadInputError, ConflictError, Problem
from services.ids import new_id
from services.images import catalogue as images
from services.jobs import requests
from services.jobs.specs import SPECS, spec_of
from services.jobs.submission import submit
from services.losses import catalogue as losses
from services.restoration.size import check_size
from services.restoration.spec import Restoration

MANIFEST = {"task": {"kind": "jpeg"}, "layers": 5, "padding": "valid"}


@pytest.fixture
def dataset(add_dataset) -> Dataset:
    return add_dataset({"photograph.png": np.zeros((40, 50, 3), np.uint8)})


@pytest.fixture
def loss(installation) -> Loss:
    with installation.database.write() as session:
        files = losses.store(session, installation.blobs, {"safetensors": b"weights"})
        return losses.add_imported(
            session, caller=LOCAL, name="mine", manifest=MANIFEST, files=files
        )


@pytest.fixture
def add_images(installation):
    """Add rows of small images; their ids."""

    def add(owner: str, count: int) -> list[str]:
        rows = [
            Image(
                id=new_id("img"),
                owner=owner,
                digest=f"{number:064x}",
                blob=images.blob_key(f"{number:064x}"),
                name=f"{number}.png",
                width=96,
                height=96,
                size=100,
                sha256="0" * 64,
                source={},
                created=now(),
            )
            for number in range(count)
        ]
        with installation.database.write() as session:
            session.add_all(rows)
        return [row.id for row in rows]

    return add


@pytest.fixture
def statements(installation) -> list[str]:
    """What the database is told from now on."""
    told: list[str] = []

    @event.listens_for(installation.database.engine, "before_cursor_execute")
    def note(connection, cursor, statement, *_):
        told.append(statement)

    return told


def ask(installation, caller: Caller = LOCAL, **spec: Any) -> Job:
    checked = SPECS[spec["type"]].model_validate(spec)
    with installation.database.write() as session:
        return submit(session, checked, caller=caller)


def train(installation, dataset: Dataset, **spec: Any) -> Job:
    given = {"type": "restoration_training", "preset": "quick-dncnn-denoising"}
    return ask(installation, **given, dataset_id=dataset.id, **spec)


def test_a_training_is_stored_complete_with_the_digests_of_its_losses(installation, dataset, loss):
    mdf = {"kind": "mdf", "loss_id": loss.id}
    terms = [{"weight": 1, "loss": {"kind": "l1"}}, {"weight": 0.1, "loss": mdf}]
    job = train(installation, dataset, loss={"kind": "sum", "terms": terms}, recipe={"batch": 3})
    assert job.spec["loss"]["terms"][1]["loss"] == mdf | {"digest": loss.sha256}
    assert job.spec["network"]["kind"] == "dncnn"
    assert job.spec["task"]["kind"] == "denoising"
    assert job.spec["recipe"]["batch"] == 3
    assert job.spec["recipe"]["patch"] > 0
    assert spec_of(job).resolved().recipe.batch == 3


@pytest.mark.parametrize(
    ("changes", "words", "pointer"),
    [
        ({"dataset_id": "ds_0"}, "there is no data set ds_0", "/dataset_id"),
        (
            {"validation_dataset_id": "ds_0"},
            "there is no data set ds_0",
            "/validation_dataset_id",
        ),
        ({"loss": {"kind": "mdf", "loss_id": "loss_0"}}, "there is no loss loss_0", "/loss"),
        ({"start_from": "model_0"}, "there is no model model_0", "/start_from"),
    ],
)
def test_what_a_training_names_must_be_there(installation, dataset, changes, words, pointer):
    given = {"type": "restoration_training", "preset": "quick-dncnn-denoising"}
    with pytest.raises(BadInputError, match=words) as caught:
        ask(installation, **given | {"dataset_id": dataset.id} | changes)
    assert [problem.pointer for problem in caught.value.problems] == [pointer]


def test_a_data_set_must_be_ready(installation, add_dataset):
    with pytest.raises(BadInputError, match="not ready"):
        train(installation, add_dataset({}, ready=False))


def test_patches_must_be_as_large_as_the_loss_looks(installation, dataset, loss):
    mdf = {"kind": "mdf", "loss_id": loss.id}
    with pytest.raises(BadInputError, match="patch is 8 px; the loss needs at least 11 px"):
        train(installation, dataset, loss=mdf, recipe={"patch": 8})


def test_a_model_to_start_from_must_be_of_the_same_network(installation, dataset, model: Model):
    with pytest.raises(BadInputError, match=f"model {model.id} is the network") as caught:
        train(installation, dataset, start_from=model.id)
    assert caught.value.problems[0].pointer == "/start_from"
    network = model.manifest["network"]
    job = train(installation, dataset, start_from=model.id, network=network)
    assert job.spec["start_from"] == model.id


def test_another_owners_things_are_not_there(installation, dataset, model, seed_image):
    stranger = Caller("eve", frozenset({"write"}))
    wanted = {"type": "restoration", "model_id": model.id, "image_ids": [seed_image.id]}
    with pytest.raises(BadInputError, match="there is no model"):
        ask(installation, stranger, **wanted)


def test_a_restoration_names_images_that_are_there(installation, model):
    wanted = {"type": "restoration", "model_id": model.id, "image_ids": ["img_0"]}
    with pytest.raises(BadInputError, match="there is no image img_0") as caught:
        ask(installation, **wanted)
    assert caught.value.problems[0].pointer == "/image_ids/0"


def test_the_first_image_that_is_not_the_callers_is_pointed_to(installation, add_images):
    anna = Caller("anna", frozenset({"write"}))
    mine, others = add_images("anna", 3), add_images("eve", 1)
    given = {"type": "discriminator_training", "task": {"kind": "sisr"}, "preset": "quick"}
    for ids, place in (
        ([*mine, *others, "img_0"], 3),
        ([mine[1], "img_0", *others], 1),
        ([*others, *mine], 0),
    ):
        with pytest.raises(BadInputError) as caught:
            ask(installation, anna, seed_image_ids=ids, **given)
        assert caught.value.message == f"there is no image {ids[place]}"
        assert caught.value.problems == (Problem(f"/seed_image_ids/{place}", "no such image"),)
    job = ask(installation, anna, seed_image_ids=mine[::-1], **given)
    assert job.spec["seed_image_ids"] == mine[::-1]


def test_listed_images_come_in_the_order_of_the_list_as_often_as_they_are_in_it(
    installation, add_images
):
    first, second, third = add_images("anna", 3)
    ids = [third, first, third, second]
    with installation.database.read() as session:
        listed = images.all_referenced(session, ids, LOCAL, "/image_ids")
    assert [image.id for image in listed] == ids


def test_many_images_are_looked_up_at_once(installation, model, add_images, statements):
    ids = add_images(LOCAL.owner, 200)
    wanted = {"type": "restoration", "model_id": model.id}
    statements.clear()
    with pytest.raises(BadInputError, match="there is no image img_0") as caught:
        ask(installation, **wanted, image_ids=[*ids, "img_0"])
    assert caught.value.problems[0].pointer == "/image_ids/200"
    assert len(statements) < 15
    statements.clear()
    assert ask(installation, **wanted, image_ids=ids).spec["image_ids"] == ids
    assert sum("FROM images" in each for each in statements) == 2  # before they are held, and then


@pytest.mark.parametrize(
    ("factor", "form", "sizes", "first"),
    [
        (1, "png", [(10_000, 10_000), (20_000, 5_000), (100_000_000, 1)], None),
        (1, "png", [(9, 9), (10_000, 10_001), (9, 9), (90_000, 90_000)], 1),
        (1, "png", [(9, 9), (9, 9), (90_000, 90_000)], 2),
        (1, "jpeg", [(65_535, 9), (9, 65_535)], None),
        (1, "jpeg", [(9, 65_536), (90_000, 90_000)], 0),
        (1, "webp", [(16_383, 9), (16_384, 9), (9, 16_384)], 1),
        (4, "png", [(2_500, 2_500), (9, 90_000)], None),
        (4, "png", [(2_500, 2_501), (2_501, 2_500)], 0),
        (4, "webp", [(4_095, 9), (9, 4_096), (4_096, 9)], 1),
    ],
)
def test_the_first_picture_of_a_data_set_whose_result_would_be_too_large_is_named(
    installation, add_dataset, add_model, factor, form, sizes, first
):
    model = add_model("edsr", scale=4, blocks=1, width=4) if factor > 1 else add_model()
    dataset = add_dataset({f"{n}.png": np.full((4, 4, 3), n, np.uint8) for n in range(len(sizes))})
    with installation.database.write() as session:
        for position, (width, height) in enumerate(sizes):
            row = update(DatasetImage).where(DatasetImage.position == position)
            session.execute(row.values(width=width, height=height))
    wanted = {"type": "restoration", "model_id": model.id, "dataset_id": dataset.id, "format": form}
    if first is None:
        for size in sizes:
            check_size(size, factor, form)
        assert ask(installation, **wanted).state == "queued"
        return
    with pytest.raises(BadInputError) as refused:
        check_size(sizes[first], factor, form)
    with pytest.raises(BadInputError) as caught:
        ask(installation, **wanted)
    assert caught.value.message == f"{first}.png: {refused.value.message}"
    assert caught.value.problems == (Problem("/dataset_id", refused.value.message),)


def test_what_a_waiting_job_uses_is_not_deleted(
    installation, dataset, loss, seed_image: Image, model: Model
):
    database, blobs = installation.database, installation.blobs
    training = train(installation, dataset, loss={"kind": "mdf", "loss_id": loss.id})
    restoring = ask(installation, type="restoration", model_id=model.id, image_ids=[seed_image.id])
    with pytest.raises(ConflictError, match=f"loss {loss.id} is used by job {training.id}"):
        losses.delete(database, blobs, loss.id, LOCAL)
    with pytest.raises(ConflictError, match=f"image {seed_image.id} is used by job {restoring.id}"):
        images.delete(database, blobs, seed_image.id, LOCAL)
    for job in (training, restoring):
        with database.write() as session:
            requests.cancel(session, job.id, LOCAL)
    losses.delete(database, blobs, loss.id, LOCAL)
    images.delete(database, blobs, seed_image.id, LOCAL)


def test_only_trainings_can_be_finished_early(installation, dataset, model, seed_image):
    training = train(installation, dataset)
    restoring = ask(installation, type="restoration", model_id=model.id, image_ids=[seed_image.id])
    with installation.database.write() as session:
        assert requests.finish(session, training.id, LOCAL).desired_state == "finish"
        with pytest.raises(ConflictError, match="a restoration job is done or not"):
            requests.finish(session, restoring.id, LOCAL)


def test_a_retry_looks_again(installation, dataset, loss):
    job = train(installation, dataset, loss={"kind": "mdf", "loss_id": loss.id})
    with installation.database.write() as session:
        requests.cancel(session, job.id, LOCAL)
        assert requests.retry(session, job.id, LOCAL).state == "queued"
        requests.cancel(session, job.id, LOCAL)
    losses.delete(installation.database, installation.blobs, loss.id, LOCAL)
    with (
        installation.database.write() as session,
        pytest.raises(ConflictError, match=f"cannot be retried: there is no loss {loss.id}"),
    ):
        requests.retry(session, job.id, LOCAL)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "needs `image_ids` or `dataset_id`"),
        ({"image_ids": ["a"], "dataset_id": "b"}, "one of the two"),
        ({"image_ids": ["a", "b", "a"]}, "named more than once: a"),
        ({"image_ids": []}, "at least 1 item"),
        ({"image_ids": ["a"], "quality": 80}, "PNG files lose nothing"),
        ({"image_ids": ["a"], "format": "gif"}, "'png', 'jpeg' or 'webp'"),
        ({"image_ids": [str(number) for number in range(1001)]}, "at most 1000 items"),
    ],
)
def test_a_restoration_that_makes_no_sense_says_why(changes, words):
    with pytest.raises(ValueError, match=words):
        Restoration.model_validate({"model_id": "model_1", **changes})
