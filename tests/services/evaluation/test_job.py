"""Evaluations as jobs: what is measured, and that they go on where they stopped."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data

from mdf.artefact import read_artefact
from mdf.loss import MDFLoss
from models.metrics import METRICS, Protocol, measure
from services.access import LOCAL, Caller
from services.database.schema import Artifact, Dataset, Job, JobSample, Loss, Model, ModelFile
from services.errors import BadInputError, ConflictError, NotFoundError
from services.evaluation import catalogue
from services.evaluation import job as evaluating
from services.evaluation.measuring import Degradations
from services.evaluation.spec import METRIC_NAMES, SMALLEST_SIDES, Evaluation
from services.installation import Installation
from services.jobs import claims, parts, queries, requests, results
from services.jobs.claims import Claim
from services.jobs.execution import COMPUTATIONS, execute
from services.jobs.run import JobRun
from services.jobs.specs import spec_of
from services.jobs.submission import submit
from services.losses import catalogue as losses
from services.phase2.tasks import SuperResolution
from services.restorers import catalogue as models
from services.restorers.artefact import read_restorer
from services.restorers.networks import NETWORK
from services.run import Canceled, Paused, Signal

PICTURES = {
    "astronaut.png": data.astronaut()[:70, 100:190],
    "chelsea.png": data.chelsea()[:64, 100:180],
    "coffee.png": data.coffee()[:61, 100:177],
}


@pytest.fixture
def dataset(add_dataset: Callable[..., Dataset]) -> Dataset:
    return add_dataset(PICTURES)


@pytest.fixture
def loss(add_loss: Callable[[], Loss]) -> Loss:
    return add_loss()


@pytest.fixture
def ask(installation: Installation, dataset: Dataset) -> Callable[..., Job]:
    """Submit an evaluation on the photographs."""

    def ask(*compared: Model, caller: Caller = LOCAL, **spec: Any) -> Job:
        given = {"model_ids": [each.id for each in compared], "dataset_id": dataset.id, **spec}
        checked = Evaluation.model_validate(given)
        with installation.database.write() as session:
            return submit(session, checked, caller=caller, name="which one?")

    return ask


def run(installation: Installation, job: Job, recording: Any) -> None:
    """One attempt; what it publishes is written."""
    publish = COMPUTATIONS["evaluation"](installation, job, recording)
    with installation.database.write() as session:
        publish(session, session.get_one(Job, job.id))


def published(installation: Installation, job: Job) -> dict[str, Any]:
    """The artifact of a job."""
    with installation.database.read() as session:
        (artifact,) = queries.artifacts(session, job.id)
    assert (artifact.kind, artifact.media_type) == ("evaluation", "application/json")
    content: dict[str, Any] = json.loads(installation.blobs.get(artifact.blob))
    return content


def restorer_of(installation: Installation, model: Model) -> torch.nn.Module:
    with installation.database.read() as session:
        blob = session.get_one(ModelFile, (model.id, "safetensors")).blob
    return read_restorer(installation.blobs.get(blob))[1]


def test_what_it_knows_of_metrics_is_what_they_say() -> None:
    assert set(METRIC_NAMES) == {*METRICS, "lpips"}
    for name, metric in METRICS.items():
        assert SMALLEST_SIDES[name] == metric.smallest_side


def test_values_are_those_of_the_metrics_on_what_the_model_makes_of_the_image(
    installation: Installation, model: Model, loss: Loss, ask, dataset: Dataset, recording
) -> None:
    job = ask(model, metrics=["psnr", "ssim"], loss_ids=[loss.id], random_seed=5)
    watched = recording()
    run(installation, job, watched)
    report = published(installation, job)
    assert [place[2:] for place in watched.places] == [(1, 3), (2, 3), (3, 3)]
    assert [image["name"] for image in report["images"]] == sorted(PICTURES)

    task = spec_of(job).settled_task
    network = NETWORK.validate_python(model.manifest["network"])
    degradations = Degradations(task, [network], crop=2048, random_seed=5)
    with installation.database.read() as session:
        blob = losses.file(session, loss.id, "safetensors").blob
    mdf = MDFLoss(*read_artefact(installation.blobs.get(blob)))
    protocol = Protocol(eight_bit=True)
    for position, name in enumerate(sorted(PICTURES)):
        image = degradations.degrade(PICTURES[name].copy(), position)
        assert image.target.shape[-2:] == PICTURES[name].shape[:2]
        with torch.no_grad():
            restored = restorer_of(installation, model)(image.given[False])
        for candidate, made in (("input", image.given[False]), (model.id, restored)):
            found = report["images"][position]["values"][candidate]
            expected = measure(["psnr", "ssim"], made, image.target, protocol)
            expected[loss.id] = mdf(protocol.prepare(made), image.target).item()
            assert found == pytest.approx(expected, rel=1e-4)


def test_its_row_sums_up_what_the_artifact_has(
    installation: Installation, add_model, ask, dataset: Dataset, recording
) -> None:
    first, second = add_model(), add_model(kind="dncnn", depth=4, width=3)
    job = ask(first, second, metrics=["psnr", "l1"])
    run(installation, job, recording())
    report = published(installation, job)
    with installation.database.read() as session:
        made = results.of_jobs(session, [job])[job.id].evaluation_id
        assert made is not None
        row = catalogue.get(session, made, LOCAL)
        with pytest.raises(NotFoundError):
            catalogue.get(session, made, Caller("eve", frozenset({"write"})))
    assert row.name == "which one?"
    assert row.summary == {name: report[name] for name in row.summary}
    assert [each["id"] for each in row.summary["candidates"]] == ["input", first.id, second.id]
    values = [image["values"][first.id]["psnr"] for image in report["images"]]
    told = row.summary["candidates"][1]["results"]["psnr"]
    assert told["mean"] == pytest.approx(np.mean(values))
    assert told["n"] == 3
    assert len(row.summary["comparisons"]) == 2 * 3  # metrics × pairs
    for test in row.summary["comparisons"]:
        means = [
            each["results"][test["metric"]]["mean"]
            for name in (test["first"], test["second"])
            for each in row.summary["candidates"]
            if each["id"] == name
        ]
        sign = 1 if test["metric"] == "psnr" else -1
        assert test["advantage"] == pytest.approx(sign * (means[0] - means[1]), abs=1e-9)
    scores = catalogue.scores(installation, row)
    assert [each.values for each in scores] == [each["values"] for each in report["images"]]


def test_all_models_are_given_the_same_bytes_also_where_one_enlarges(
    installation: Installation, add_model, ask, recording
) -> None:
    enlarging, keeping = (
        add_model(kind="edsr", scale=2, blocks=1, width=4),
        add_model(kind="srcnn", widths=[4, 4]),
    )
    task = {"kind": "sisr", "factor": 2}
    job = ask(enlarging, keeping, task=task, metrics=["psnr"])
    run(installation, job, recording())
    assert [
        (image["width"], image["height"]) for image in published(installation, job)["images"]
    ] == [
        (90, 70),
        (80, 64),
        (76, 60),
    ]
    networks = [NETWORK.validate_python(each.manifest["network"]) for each in (enlarging, keeping)]
    degradations = Degradations(SuperResolution(factor=2), networks, crop=40, random_seed=0)
    image = degradations.degrade(PICTURES["coffee.png"].copy(), 0)
    assert image.given[True].shape == (1, 3, 20, 20)
    assert image.given[False].shape == image.target.shape == image.as_shown.shape == (1, 3, 40, 40)


def test_grey_models_alone_are_compared_in_grey_and_with_others_plane_by_plane(
    installation: Installation, add_model, model: Model, ask, recording
) -> None:
    grey = add_model(kind="dncnn", depth=3, width=4, channels=1)
    alone, together = ask(grey, metrics=["psnr"]), ask(grey, model, metrics=["psnr"])
    values = []
    for job in (alone, together):
        run(installation, job, recording())
        values.append(published(installation, job)["images"][0]["values"]["input"]["psnr"])
    assert values[0] != values[1]


def test_pictures_show_the_middle_of_a_few_images(
    installation: Installation, model: Model, ask, recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluating, "SHOWN", 2)
    monkeypatch.setattr(evaluating, "SHOWN_SIDE", 48)
    job = ask(model, metrics=["psnr"])
    watched = recording()
    run(installation, job, watched)
    kinds = ("input", "restored-1", "reference")
    assert set(watched.samples) == {(1, step, kind) for step in (1, 3) for kind in kinds}
    for content in watched.samples.values():
        width, height = (int.from_bytes(content[at : at + 4]) for at in (16, 20))  # of a PNG
        assert (width, height) == (48, 48)


def test_it_goes_on_with_the_image_that_it_stopped_at(
    installation: Installation, model: Model, ask, recording
) -> None:
    undisturbed, job = ask(model), ask(model)
    run(installation, undisturbed, recording())
    # It asks for each candidate, for the tile, and after the image.
    with pytest.raises(Paused):
        run(installation, job, recording(lambda n: Signal.PAUSE if n == 6 else Signal.CONTINUE))
    assert parts.done(installation.blobs, job.id).keys() == {0}
    saving = recording(lambda _: Signal.CHECKPOINT)
    run(installation, job, saving)
    assert saving.saved == [b"", b""], "the first was there"
    assert published(installation, job) == published(installation, undisturbed)


def test_a_damaged_part_is_made_again(
    installation: Installation, model: Model, ask, recording
) -> None:
    undisturbed, job = ask(model), ask(model)
    run(installation, undisturbed, recording())
    with pytest.raises(Paused):
        run(installation, job, recording(lambda n: Signal.PAUSE if n == 6 else Signal.CONTINUE))
    key = parts.done(installation.blobs, job.id)[0]
    installation.blobs.put(key, installation.blobs.get(key)[:100])
    run(installation, job, recording())
    assert published(installation, job) == published(installation, undisturbed)


def test_a_cancel_ends_it_in_the_middle_of_an_image(
    installation: Installation, model: Model, ask, recording
) -> None:
    job = ask(model)
    with pytest.raises(Canceled):
        run(installation, job, recording(lambda n: Signal.CANCEL))
    assert parts.done(installation.blobs, job.id) == {}


def test_a_job_that_has_its_result_leaves_no_parts_and_takes_all_with_it(
    installation: Installation, model: Model, ask
) -> None:
    job = ask(model)
    claim = Claim(job.id, job.token + 1)
    with installation.database.write() as session:
        assert claims.claim(session, claim, holder="w", host="h", lease=timedelta(seconds=60))
    execute(installation, JobRun(installation, claim, threading.Event()), COMPUTATIONS)
    with installation.database.read() as session:
        assert session.get_one(Job, job.id).state == "succeeded"
        (row,) = catalogue.list_evaluations(session, LOCAL).items
    assert parts.done(installation.blobs, job.id) == {}
    scores = catalogue.scores(installation, row)
    assert all(image.pictures.keys() == {"input", model.id, "reference"} for image in scores)

    requests.delete(installation.database, installation.blobs, job.id, LOCAL)
    with installation.database.read() as session:
        assert catalogue.list_evaluations(session, LOCAL).items == []
        assert session.query(JobSample).count() == session.query(Artifact).count() == 0
    assert not [key for key in installation.blobs.keys("") if job.id in key]


def test_lpips_without_its_weights_is_refused_in_words(
    installation: Installation, model: Model, ask, recording
) -> None:
    job = ask(model, metrics=["psnr", "lpips"])
    with pytest.raises(BadInputError, match="linear layers of LPIPS are missing: put"):
        run(installation, job, recording())


def test_a_model_that_computes_no_numbers_is_named(
    installation: Installation, model: Model, ask, recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ask(model)
    monkeypatch.setattr(
        "services.evaluation.measuring.restore_tensor",
        lambda restorer, image, **_: torch.full_like(image, torch.nan),
    )
    with pytest.raises(BadInputError, match=rf"^astronaut\.png: model {model.id} gives values"):
        run(installation, job, recording())


@pytest.mark.parametrize(
    ("changes", "words", "pointer"),
    [
        ({"model_ids": ["model_0"]}, "there is no model model_0", "/model_ids/0"),
        ({"dataset_id": "ds_0"}, "there is no data set ds_0", "/dataset_id"),
        ({"loss_ids": ["loss_0"]}, "there is no loss loss_0", "/loss_ids/0"),
        ({"metrics": ["ms_ssim"]}, "has no image of 176 px or more", "/dataset_id"),
        ({"metrics": ["ms_ssim"], "crop": 99}, "crop is 99 px; .* need 176 px", "/crop"),
        ({"task": {"kind": "sisr"}}, None, None),
    ],
)
def test_what_it_names_must_be_there_and_fit(model: Model, ask, changes, words, pointer) -> None:
    if words is None:  # a network that keeps the size takes it enlarged
        assert ask(model, **changes).spec["task"]["factor"] == 4
        return
    with pytest.raises(BadInputError, match=words) as caught:
        ask(model, **changes)
    assert [problem.pointer for problem in caught.value.problems] == [pointer]


def test_models_must_agree_on_the_task_or_one_is_given(
    installation: Installation, model: Model, add_model, ask
) -> None:
    other = add_model()
    with installation.database.write() as session:
        row = session.get_one(Model, other.id)
        row.manifest = {**row.manifest, "task": {"kind": "jpeg", "quality": [10, 10]}}
    with pytest.raises(BadInputError, match="were trained for different tasks") as caught:
        ask(model, other)
    assert caught.value.problems[0].pointer == "/model_ids/1"
    assert ask(model, other, task={"kind": "denoising", "sigma": 25}).state == "queued"
    with installation.database.write() as session:
        row = session.get_one(Model, other.id)
        row.manifest = {**row.manifest, "task": {}}
    with pytest.raises(BadInputError, match="does not tell what it was trained for: give `task`"):
        ask(other)


def test_a_network_must_suit_the_task(add_model, ask) -> None:
    with pytest.raises(BadInputError, match="the network enlarges 3×"):
        ask(add_model(kind="edsr", scale=3, blocks=1, width=4))


def test_what_it_compares_is_not_deleted_before_it_is_done(
    installation: Installation, model: Model, loss: Loss, ask
) -> None:
    job = ask(model, loss_ids=[loss.id])
    for delete, object_id in ((models.delete, model.id), (losses.delete, loss.id)):
        with pytest.raises(ConflictError, match=f"is used by job {job.id}"):
            delete(installation.database, installation.blobs, object_id, LOCAL)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metrics": []}, "something to compare by"),
        ({"metrics": ["psnr", "psnr"]}, "named more than once: psnr"),
        ({"model_ids": []}, "at least 1 item"),
        ({"model_ids": [str(number) for number in range(17)]}, "at most 16 items"),
        ({"metrics": ["niqe"]}, "'psnr'"),
        ({"images": 0}, "greater than or equal to 1"),
    ],
)
def test_an_evaluation_that_makes_no_sense_says_why(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Evaluation.model_validate({"model_ids": ["model_1"], "dataset_id": "ds_1", **changes})
