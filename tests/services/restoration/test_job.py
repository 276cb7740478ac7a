"""Restoration jobs: what they make, and that they go on where they stopped."""

import io
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image as Picture
from skimage import data

from services.access import LOCAL
from services.database.schema import Dataset, Image, Job, Model
from services.errors import BadInputError, StorageError
from services.images import catalogue as images
from services.installation import Installation
from services.jobs import claims, parts, queries
from services.jobs.claims import Claim
from services.jobs.execution import COMPUTATIONS, execute
from services.jobs.parts import Parts
from services.jobs.run import JobRun
from services.jobs.submission import submit
from services.restoration import job as restoration
from services.restoration.job import unique
from services.restoration.picture import RestoredPicture
from services.restoration.spec import Restoration
from services.run import Canceled, Paused, Signal


class Watched:
    """A run of the job that does what it is asked to, and remembers."""

    def __init__(self, answers: list[Signal] | None = None) -> None:
        self.answers = answers or []
        self.checkpoints = 0
        self.steps: list[tuple[int, int]] = []
        self.logs: list[str] = []

    def poll(self) -> Signal:
        return self.answers.pop(0) if self.answers else Signal.CONTINUE

    def save_checkpoint(self, state: bytes) -> None:
        assert state == b""
        self.checkpoints += 1

    def progress(self, *, scale: int, scales: int, step: int, steps: int) -> None:
        assert (scale, scales) == (1, 1)
        self.steps.append((step, steps))

    def log(self, message: str) -> None:
        self.logs.append(message)


def add_image(installation: Installation, pixels: np.ndarray, name: str) -> Image:
    decoded = images.from_pixels(np.ascontiguousarray(pixels), {})
    with installation.database.write() as session:
        return images.add(session, installation.blobs, decoded, name=name, caller=LOCAL)[0]


@pytest.fixture
def three(installation: Installation) -> list[Image]:
    """Photographs of one size; two have the same name."""
    named = {"a.png": data.astronaut(), "b.tiff": data.chelsea(), "a.jpg": data.coffee()}
    return [add_image(installation, pixels[:40, :50], name) for name, pixels in named.items()]


def submitted(installation: Installation, **spec: object) -> Job:
    with installation.database.write() as session:
        return submit(session, Restoration.model_validate(spec), caller=LOCAL)


def run(installation: Installation, job: Job, watched: Watched) -> None:
    """One attempt; what it publishes is written."""
    publish = COMPUTATIONS[job.type](installation, job, watched)  # type: ignore[arg-type]
    with installation.database.write() as session:
        publish(session, session.get_one(Job, job.id))


def result(installation: Installation, job: Job) -> tuple[bytes, str]:
    with installation.database.read() as session:
        (artifact,) = queries.artifacts(session, job.id)
    assert artifact.kind == "restored"
    return installation.blobs.get(artifact.blob), artifact.media_type


def test_one_image_is_the_artifact_itself(
    installation: Installation, model: Model, three: list[Image]
) -> None:
    job = submitted(
        installation, model_id=model.id, image_ids=[three[0].id], format="jpeg", quality=80
    )
    watched = Watched()
    run(installation, job, watched)
    content, media_type = result(installation, job)
    assert media_type == "image/jpeg"
    with Picture.open(io.BytesIO(content)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (50, 40))
    assert watched.steps == [(1, 1)]


def test_many_come_in_an_archive_under_their_names(
    installation: Installation, model: Model, three: list[Image]
) -> None:
    job = submitted(installation, model_id=model.id, image_ids=[each.id for each in three])
    watched = Watched()
    run(installation, job, watched)
    content, media_type = result(installation, job)
    assert media_type == "application/zip"
    assert watched.steps == [(1, 3), (2, 3), (3, 3)]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["a.png", "b.png", "a-2.png"]
        assert {each.compress_type for each in archive.infolist()} == {zipfile.ZIP_STORED}
        for image, name in zip(three, archive.namelist(), strict=True):
            single = submitted(installation, model_id=model.id, image_ids=[image.id])
            run(installation, single, Watched())
            assert archive.read(name) == result(installation, single)[0]


def test_it_goes_on_with_the_image_that_it_stopped_at(
    installation: Installation, model: Model, three: list[Image]
) -> None:
    wanted = {"model_id": model.id, "image_ids": [each.id for each in three]}
    undisturbed, job = submitted(installation, **wanted), submitted(installation, **wanted)
    run(installation, undisturbed, Watched())
    # An image of one tile asks twice: after the tile, and after the image.
    with pytest.raises(Paused):
        run(installation, job, Watched([Signal.CONTINUE, Signal.CONTINUE, Signal.PAUSE]))
    assert parts.done(installation.blobs, job.id).keys() == {0}
    watched = Watched()
    run(installation, job, watched)
    assert watched.steps == [(1, 3), (2, 3), (3, 3)]
    assert result(installation, job) == result(installation, undisturbed)


def test_a_long_one_outlives_any_number_of_kills_as_long_as_it_gets_on(
    installation: Installation,
    model: Model,
    three: list[Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class KilledError(BaseException):
        """The end of the process."""

    job = submitted(installation, model_id=model.id, image_ids=[each.id for each in three])
    installation = replace(
        installation, settings=installation.settings.model_copy(update={"checkpoint_seconds": 0})
    )
    for done in (1, 2):
        with installation.database.read() as session:
            claim = Claim(job.id, session.get_one(Job, job.id).token + 1)
        with installation.database.write() as session:
            assert claims.claim(session, claim, holder="w", host="h", lease=timedelta(seconds=60))
        attempt = JobRun(installation, claim, threading.Event())
        saved = attempt.save_checkpoint

        def save_and_die(state: bytes, saved: Callable[[bytes], None] = saved) -> None:
            saved(state)
            raise KilledError

        monkeypatch.setattr(attempt, "save_checkpoint", save_and_die)
        with pytest.raises(KilledError):
            execute(installation, attempt, COMPUTATIONS)
        with installation.database.write() as session:
            lost = claims.release(session, claim, lost=True, max_attempts=2)
            assert lost is not None
            assert (lost.state, lost.lost_attempts) == ("queued", 1)
        assert len(parts.done(installation.blobs, job.id)) == done


def test_parts_that_were_there_are_no_step_forward(
    installation: Installation, model: Model, three: list[Image]
) -> None:
    job = submitted(installation, model_id=model.id, image_ids=[each.id for each in three])
    watched = Watched([Signal.CHECKPOINT] * 4)
    for position in (0, 1):
        Parts(installation.blobs, job.id, watched.log).put(position, b"made before")
    run(installation, job, watched)
    assert watched.checkpoints == 1


def test_a_cancel_ends_it_while_the_archive_is_made(
    installation: Installation, model: Model, three: list[Image]
) -> None:
    job = submitted(installation, model_id=model.id, image_ids=[each.id for each in three])
    with pytest.raises(Canceled):
        run(installation, job, Watched([Signal.CONTINUE] * 6 + [Signal.CANCEL]))
    assert len(parts.done(installation.blobs, job.id)) == 3


def test_a_part_that_is_there_is_not_made_again(
    installation: Installation, model: Model, three: list[Image]
) -> None:
    job = submitted(installation, model_id=model.id, image_ids=[each.id for each in three])
    Parts(installation.blobs, job.id, print).put(1, b"made before")
    run(installation, job, Watched())
    with zipfile.ZipFile(io.BytesIO(result(installation, job)[0])) as archive:
        assert archive.read("b.png") == b"made before"


def test_a_part_that_is_damaged_or_of_another_version_is_made_again(
    installation: Installation, model: Model, three: list[Image]
) -> None:
    wanted = {"model_id": model.id, "image_ids": [each.id for each in three]}
    undisturbed, job = submitted(installation, **wanted), submitted(installation, **wanted)
    run(installation, undisturbed, Watched())
    with pytest.raises(Paused):
        run(installation, job, Watched([Signal.CONTINUE] * 3 + [Signal.PAUSE]))
    whole = parts.done(installation.blobs, job.id)
    assert whole.keys() == {0, 1}
    installation.blobs.put(whole[0], installation.blobs.get(whole[0])[:500])
    installation.blobs.put(whole[1], b"")
    installation.blobs.put(f"parts/{job.id}/000002", b"without a digest")
    watched = Watched()
    run(installation, job, watched)
    assert watched.logs == [
        f"part {number} of what was done is damaged: it is made again" for number in (1, 2)
    ]
    assert result(installation, job) == result(installation, undisturbed)


def test_a_part_that_is_damaged_when_it_is_packed_fails_the_attempt_only(
    installation: Installation, model: Model, three: list[Image]
) -> None:
    job = submitted(installation, model_id=model.id, image_ids=[each.id for each in three])
    made = Parts(installation.blobs, job.id, print)
    made.put(0, b"whole")
    installation.blobs.put(parts.done(installation.blobs, job.id)[0], b"half")
    with pytest.raises(StorageError, match="part 1 of what was done is damaged: a retry"):
        made.get(0)
    run(installation, job, Watched())


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_file_that_is_missing_or_damaged_is_named(
    installation: Installation, model: Model, three: list[Image], damage: str
) -> None:
    job = submitted(installation, model_id=model.id, image_ids=[three[0].id])
    weights = f"models/{model.sha256}.safetensors"
    kept = {key: installation.blobs.get(key) for key in (three[0].blob, weights)}
    for key, named in ((three[0].blob, f"image {three[0].id}"), (weights, f"model {model.id}")):
        if damage == "missing":
            installation.blobs.delete(key)
        else:
            installation.blobs.put(key, kept[key][:-100])
        with pytest.raises(StorageError, match=f"the file of {named} is {damage}: upload"):
            run(installation, job, Watched())
        installation.blobs.put(key, kept[key])
    run(installation, job, Watched())


def test_a_cancel_ends_it_in_the_middle_of_an_image(
    installation: Installation, model: Model, three: list[Image]
) -> None:
    job = submitted(installation, model_id=model.id, image_ids=[three[0].id])
    with pytest.raises(Canceled):
        run(installation, job, Watched([Signal.CANCEL]))
    assert parts.done(installation.blobs, job.id) == {}


def test_a_data_set_is_restored_as_it_is_ordered(
    installation: Installation, model: Model, add_dataset: Callable[..., Dataset]
) -> None:
    pictures = {"day/b.tiff": data.chelsea(), "day/a.png": data.coffee(), "day/a.jpg": data.coins()}
    pixels = {name: np.resize(each, (30, 40, 3)) for name, each in pictures.items()}
    job = submitted(installation, model_id=model.id, dataset_id=add_dataset(pixels).id)
    run(installation, job, Watched())
    with zipfile.ZipFile(io.BytesIO(result(installation, job)[0])) as archive:
        assert archive.namelist() == ["day/a.png", "day/a-2.png", "day/b.png"]


def test_an_image_whose_result_would_be_too_large_is_refused_at_the_door(
    installation: Installation, three: list[Image], enlarging: Model
) -> None:
    wide = add_image(installation, np.zeros((40, 6000, 3), np.uint8), "wide.png")
    wanted = {"model_id": enlarging.id, "image_ids": [three[0].id, wide.id]}
    submitted(installation, **wanted)
    with pytest.raises(BadInputError, match=r"wide\.png: the result would be 18000 ×") as caught:
        submitted(installation, **wanted, format="webp")
    assert caught.value.problems[0].pointer == "/image_ids/1"


def test_an_image_that_cannot_be_restored_is_named(
    installation: Installation,
    three: list[Image],
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = submitted(installation, model_id=model.id, image_ids=[three[1].id])

    def fail(*_: object, **__: object) -> None:
        raise BadInputError("the model gives values that are not finite")

    monkeypatch.setattr(restoration, "restore_picture", fail)
    with pytest.raises(BadInputError, match=r"^b\.png: the model gives values"):
        run(installation, job, Watched())


@pytest.fixture
def enlarging(installation: Installation, add_model: Callable[..., Model]) -> Model:
    """A small network that makes images three times as large."""
    return add_model(kind="edsr", scale=3, blocks=1, width=4)


def test_names_are_unique_whatever_was_uploaded() -> None:
    assert unique(["x.png", "x.tiff", "x-2.png", ""], ".jpg") == [
        *("x.jpg", "x-2.jpg", "x-2-2.jpg", "image.jpg")
    ]
    assert unique([".", "/", "a/.", "a/b.png"], ".png") == [
        *("image.png", "image-2.png", "a.png", "a/b.png")
    ]


def test_a_job_that_has_its_result_leaves_no_parts(
    installation: Installation, model: Model, three: list[Image]
) -> None:
    job = submitted(installation, model_id=model.id, image_ids=[each.id for each in three])
    claim = Claim(job.id, job.token + 1)
    with installation.database.write() as session:
        assert claims.claim(session, claim, holder="w", host="h", lease=timedelta(seconds=60))
    execute(installation, JobRun(installation, claim, threading.Event()), COMPUTATIONS)
    with installation.database.read() as session:
        assert session.get_one(Job, job.id).state == "succeeded"
    assert parts.done(installation.blobs, job.id) == {}
    assert result(installation, job)[1] == "application/zip"


def test_an_attempt_that_lost_its_job_replaces_nothing(
    installation: Installation,
    model: Model,
    three: list[Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = submitted(installation, model_id=model.id, image_ids=[three[0].id])
    claim = Claim(job.id, token=1)
    with installation.database.write() as session:
        assert claims.claim(session, claim, holder="a", host="b", lease=timedelta(seconds=30))
    execute(installation, JobRun(installation, claim, threading.Event()), COMPUTATIONS)
    published, _ = result(installation, job)

    def on_another_device(*_: object, **__: object) -> RestoredPicture:
        return RestoredPicture(b"another", "image/png", 50, 40)

    monkeypatch.setattr(restoration, "restore_picture", on_another_device)
    COMPUTATIONS[job.type](installation, job, Watched())  # type: ignore[arg-type]
    assert result(installation, job)[0] == published
