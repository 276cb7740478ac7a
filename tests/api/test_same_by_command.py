"""What a run's page offers to copy: it asks for the very same job."""

import json
import shlex
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typer.testing import CliRunner

from api.schemas import JobIn, JobOut
from api.studio.pages.runs.commands import DEFAULT_ADDRESS, command, curl
from mdf.client import Client, Dataset
from mdf.commands import app
from services.evaluation.spec import Evaluation
from services.ids import new_id
from services.jobs.specs import SPECS, AnySpec
from services.phase1.recipe import DiscriminatorTraining
from services.phase2.objective import pinned
from services.phase2.recipe import RestorationTraining
from services.restoration.spec import Restoration

IMAGES = [new_id("img"), new_id("img")]
DATASET, OTHER = new_id("ds"), new_id("ds")
LOSS, MODEL = new_id("loss"), new_id("model")


def training(task: dict[str, Any], **given: Any) -> DiscriminatorTraining:
    """A loss training on the first image, unless told otherwise."""
    return DiscriminatorTraining(**{"seed_image_ids": IMAGES[:1], "task": task, **given})


def restorer(**given: Any) -> RestorationTraining:
    """A restorer training on the data set."""
    return RestorationTraining(**{"dataset_id": DATASET, "preset": "quick-dncnn-jpeg", **given})


NOISE = {"kind": "gaussian_noise", "sigma": [5, 25]}
SPECS_TO_COPY: dict[str, AnySpec] = {
    "defaults": training({"kind": "jpeg"}),
    "several seeds": training({"kind": "sisr"}, seed_image_ids=IMAGES, preset="quick"),
    "other noise": training({"kind": "denoising", "sigma": [12.5, 30]}, preset="published"),
    "recipe": training(
        {"kind": "jpeg", "quality": [5, 20]},
        preset="quick",
        recipe={
            "scales": 3,
            "factor": 1.5,
            "lr_decay_at": None,
            "padding": "same",
            "warm_start": False,
            "learning_rate": 1e-7,
        },
    ),
    "custom": training({"kind": "custom", "distortions": [NOISE, {"kind": "jpeg", "quality": 30}]}),
    "restorer": restorer(),
    "restorer, all changed": restorer(
        preset="quick-dncnn-denoising",
        task={"kind": "jpeg", "quality": [30, 40]},
        network={"kind": "dncnn", "depth": 5},
        loss={"kind": "mdf", "loss_id": LOSS},
        validation_dataset_id=OTHER,
        start_from=MODEL,
        recipe={"iterations": 12, "batch": 4, "optimiser": {"learning_rate": 0.002}},
    ),
    "restorer, other kinds": restorer(
        task={"kind": "demosaicking", "pattern": "GBRG"},
        network={"kind": "zhao"},
        loss={
            "kind": "sum",
            "terms": [
                {"weight": 1, "loss": {"kind": "l1"}},
                {"weight": 0.1, "loss": {"kind": "mdf", "loss_id": LOSS}},
            ],
        },
        recipe={
            "epochs": 2,
            "optimiser": {"kind": "sgd", "learning_rate": 0.5},
            "schedule": {"kind": "multistep", "at": [0.5, 0.75]},
            "clip_norm": 1.5,
            "validation_metrics": ["psnr"],
        },
    ),
    "restorer, enlarged": restorer(
        preset="quick-edsr-sisr",
        validation_share=0.25,
        task={"kind": "sisr", "factor": 2},
        network={"kind": "edsr", "scale": 2},
    ),
    "images": Restoration(model_id=MODEL, image_ids=IMAGES, format="jpeg", quality=80),
    "data set": Restoration(model_id=MODEL, dataset_id=DATASET),
    "comparison": Evaluation(model_ids=[MODEL], dataset_id=DATASET, task={"kind": "jpeg"}),
    "comparison, all changed": Evaluation(
        model_ids=[MODEL, new_id("model")],
        dataset_id=DATASET,
        task={"kind": "denoising", "sigma": [10, 10]},
        metrics=["ssim", "lpips"],
        loss_ids=[LOSS],
        images=7,
        crop=64,
        random_seed=3,
    ),
}
each_spec = pytest.mark.parametrize("spec", SPECS_TO_COPY.values(), ids=SPECS_TO_COPY)


def stored(spec: AnySpec, **given: Any) -> JobOut:
    """The job as it stands once the service has taken it."""
    content = spec.model_dump(mode="json")
    if isinstance(spec, DiscriminatorTraining):
        content["recipe"] = spec.resolved_recipe().model_dump(mode="json")
    if isinstance(spec, RestorationTraining):
        plan = spec.resolved()
        loss = pinned(plan.loss, {LOSS: "ab" * 32})
        content |= plan.model_copy(update={"loss": loss}).model_dump(mode="json")
    moment = datetime(2030, 1, 31, 18, tzinfo=UTC)
    fields: dict[str, Any] = dict.fromkeys(JobOut.model_fields)
    fields |= {"id": new_id("job"), "type": spec.type, "name": "", "state": "queued"}
    fields |= {"spec": content, "attempt": 0, "max_attempts": 5, "priority": 0, "run_seconds": 0}
    return JobOut(**fields | {"created": moment, "queued": moment} | given)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Type lines into a shell whose `mdf` is the real one, up to what it sends to the server."""
    monkeypatch.chdir(tmp_path)
    asked: list[dict[str, Any]] = []

    def submit(job: dict[str, Any]) -> NoReturn:
        asked.append(job)
        raise SystemExit(0)

    def connect(*_: object, **__: object) -> Client:
        client = Client("http://127.0.0.1:9")
        client.jobs.submit = submit  # type: ignore[method-assign]
        client.datasets.get = (  # type: ignore[method-assign]
            lambda dataset_id: Dataset(dataset_id, "photos", "ready", {}, datetime.now(UTC))
        )
        return client

    monkeypatch.setattr("mdf.commands.connection.Client", connect)

    def run(lines: str) -> dict[str, Any]:
        # The shell's part: files, quotes and continued lines.
        shell = f"mdf() {{ printf '%s\\0' \"$@\"; }}\n{lines}"
        words = subprocess.run(["bash", "-ec", shell], capture_output=True, check=True, text=True)
        result = CliRunner().invoke(app, words.stdout.split("\0")[:-1])
        assert asked, result.output or result.exception
        job = asked.pop()
        return {name: value for name, value in job.items() if name != "name"}

    return run


def complete(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec as the service would store it."""
    return stored(SPECS[spec["type"]].model_validate(spec)).spec


@each_spec
def test_the_command_asks_for_the_same(
    spec: AnySpec, typed: Callable[[str], dict[str, Any]]
) -> None:
    job = stored(spec, name="a 'name', with \"signs\" $HOME")

    lines = command(job, DEFAULT_ADDRESS)

    assert lines is not None
    assert complete(typed(lines)) == job.spec


@each_spec
def test_the_call_asks_for_the_same(spec: AnySpec) -> None:
    job = stored(spec, name="it's mine", priority=-5, deadline=datetime(2031, 5, 6, tzinfo=UTC))

    lines = curl(job, DEFAULT_ADDRESS, with_key=False)

    assert lines is not None
    words = shlex.split(lines.replace("\\\n", " "))
    assert words[:4] == ["curl", "-X", "POST", f"{DEFAULT_ADDRESS}/v1/jobs"]
    wanted = JobIn.model_validate(json.loads(words[words.index("-d") + 1])).root
    assert complete(wanted.spec().model_dump(mode="json")) == job.spec
    assert (wanted.name, wanted.priority, wanted.deadline) == (job.name, job.priority, job.deadline)


def test_what_has_no_option_has_no_command() -> None:
    by_losses_alone = Evaluation(
        model_ids=[MODEL], dataset_id=DATASET, task={"kind": "jpeg"}, metrics=[], loss_ids=[LOSS]
    )

    assert command(stored(by_losses_alone), DEFAULT_ADDRESS) is None


def test_the_key_is_taken_from_the_environment() -> None:
    lines = curl(stored(training({"kind": "jpeg"})), "https://mdf.example", with_key=True)

    assert lines is not None
    assert '"Authorization: Bearer $MDF_API_KEY"' in lines
    assert "https://mdf.example/v1/jobs" in lines
