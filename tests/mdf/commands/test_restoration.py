"""`mdf restore-train`, `mdf restore` and `mdf models`."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from mdf.client import Job
from mdf.commands.display import describe_metrics
from mdf.commands.terminal import describe_loss, describe_network, describe_task
from tests.mdf.commands.conftest import HALTING

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def tiny_options(tiny_restorer: dict[str, Any]) -> list[str]:
    """The tiny restorer as options."""
    settings = [f"{name}={value}" for name, value in tiny_restorer["recipe"].items()]
    network = ["--network", json.dumps(tiny_restorer["network"])]
    return [*network, *(part for setting in settings for part in ("--set", setting))]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_a_folder_becomes_a_model_that_restores_alike_here_and_on_the_server(
    start: Callable[..., Any],
    mdf_command: Callable[..., Result],
    service: Any,
    photos: Path,
    seed_file: Path,
    tiny_options: list[str],
    tmp_path: Path,
) -> None:
    command = ("restore-train", photos, "--preset", "quick-dncnn-jpeg", *tiny_options)
    code, output, errors = start(*command, "--out", "here", MDF_URL=service.url).end(180)
    assert code == 0, errors
    _, *files = output.split()
    stem = "here/photos-quick-dncnn-jpeg"
    assert files == [f"{stem}.safetensors", f"{stem}-contact-sheet.png"]
    assert "(photos) is ready: 4 images" in errors
    assert "iteration 6/6  100%" in errors
    assert "scale 1/1" not in errors

    model = tmp_path / files[0]
    there = mdf_command("restore", seed_file, "--model", model, "--out", tmp_path / "there")
    assert there.stdout == f"{tmp_path}/there/cat-restored.png\n", there.stderr
    here = mdf_command("restore", seed_file, "--model", model, "--out", tmp_path, "--local")
    assert here.stdout == f"{tmp_path}/cat-restored.png\n", here.stderr
    assert np.array_equal(
        pixels(tmp_path / "cat-restored.png"), pixels(tmp_path / "there" / "cat-restored.png")
    )


def test_a_local_training_that_is_interrupted_goes_on_to_the_same_bytes(
    start: Callable[..., Any], photos: Path, tiny_options: list[str], tmp_path: Path
) -> None:
    command = ("restore-train", photos, "--preset", "quick-dncnn-jpeg", "--local", *tiny_options)
    recipe = ("--set", "iterations=400")
    code, output, errors = start(*command, *recipe, "--out", "whole").end(180)
    assert code == 0, errors
    suffixes = [".safetensors", ".onnx", ".pt2", "-contact-sheet.png"]
    assert output.split() == [f"whole/photos-quick-dncnn-jpeg{suffix}" for suffix in suffixes]

    halved = start(*command, *recipe, "--out", "halved", program=("-c", HALTING))
    halved.await_line("iteration 1/400")
    halved.interrupt()
    code, output, errors = halved.end()
    assert (code, output) == (130, ""), errors
    assert errors.endswith("Stopped at a checkpoint. The same command goes on from there.\n")
    assert start(*command, *recipe, "--out", "halved").end(180)[0] == 0
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "halved").iterdir())
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "halved" / name).read_bytes()


def test_a_loss_file_is_imported_and_named_in_the_spec(
    mdf_json: Callable[..., Any],
    mdf_command: Callable[..., Result],
    trained: Job,
    photos: Path,
    tmp_path: Path,
) -> None:
    file = tmp_path / "mine.safetensors"
    assert mdf_command("losses", "get", trained.loss_id, "--out", file).exit_code == 0
    loss = {"kind": "sum", "terms": [{"weight": 2, "loss": {"kind": "mdf", "loss_id": str(file)}}]}
    command = ("restore-train", photos, "--preset", "quick-dncnn-jpeg", "--set")
    job = mdf_json(*command, "iterations=100000", "--loss", json.dumps(loss))["job"]
    mdf_command("jobs", "cancel", job["id"])
    term = job["spec"]["loss"]["terms"][0]["loss"]
    assert term["kind"] == "mdf"
    assert term["loss_id"].startswith("loss_")
    assert job["name"] == "photos-quick-dncnn-jpeg"


def test_several_images_are_restored_by_one_job_under_their_own_names(
    mdf_command: Callable[..., Result], restorer: Job, seed_file: Path, tmp_path: Path
) -> None:
    twin = tmp_path / "img_001.png"
    twin.write_bytes(seed_file.read_bytes())
    result = mdf_command(
        "restore", seed_file, twin, "--model", restorer.model_id, "--out", tmp_path / "out"
    )
    assert result.exit_code == 0, result.stderr
    assert [Path(line).name for line in result.stdout.splitlines()] == [
        "cat-restored.png",
        "img_001-restored.png",
    ]
    assert np.array_equal(*(pixels(path) for path in sorted((tmp_path / "out").iterdir())))


def test_a_data_set_is_restored_and_its_job_described(
    mdf_command: Callable[..., Result],
    mdf_json: Callable[..., Any],
    restorer: Job,
    tmp_path: Path,
) -> None:
    dataset = mdf_json("jobs", "show", restorer.id)["spec"]["dataset_id"]
    command = ("restore", dataset, "--model", restorer.model_id, "--format", "jpeg")
    result = mdf_command(*command, "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{number}-restored.jpg" for number in range(4)]
    job = mdf_json("jobs", "ls", "--type", "restoration")[0]
    shown = mdf_command("jobs", "show", job["id"]).stdout
    assert f"restored by  {restorer.model_id}" in shown
    fetched = mdf_json("jobs", "get", job["id"], "--out", tmp_path)
    assert fetched == [f"{tmp_path}/{job['id']}-restored.zip"]


def test_models_are_listed_described_imported_and_removed(
    mdf_command: Callable[..., Result],
    mdf_json: Callable[..., Any],
    restorer: Job,
    tmp_path: Path,
) -> None:
    listed = mdf_command("models", "ls").stdout
    line = next(line for line in listed.splitlines() if str(restorer.model_id) in line)
    assert line.split()[1:6] == ["dncnn", "jpeg,", "quality", "10", "l1"]
    assert mdf_command("models", "card", restorer.model_id).stdout.startswith("# photos-l1")
    assert mdf_command("models", "get", restorer.model_id, "--out", tmp_path).stdout == (
        f"{tmp_path}/photos-l1.safetensors\n"
    )
    imported = mdf_json("models", "import", tmp_path / "photos-l1.safetensors", "--name", "copy")
    assert imported["name"] == "copy"
    told = mdf_command("models", "rm", imported["id"]).stderr
    assert re.fullmatch(rf"removed {imported['id']}: [\d.]+ [kM]?B freed\n", told)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "best"], "preset: "),
        (["--preset", "quick-dncnn-jpeg", "--set", "pach=1"], "recipe.pach: "),
        (["--preset", "quick-dncnn-jpeg", "--set", "optimiser.learning_rate=-1"], "learning_rate"),
        (["--preset", "quick-dncnn-jpeg", "--loss", "l3"], "loss"),
        (["--preset", "quick-dncnn-jpeg", "--network", '{"kind": "edsr", "scale": 2}'], "2×"),
        (["--preset", "quick-dncnn-jpeg", "--start-from", "model_0"], "model_0"),
    ],
)
@pytest.mark.parametrize("where", [[], ["--local"]], ids=["server", "local"])
def test_what_cannot_be_trained_is_told_in_one_line(
    mdf_command: Callable[..., Result],
    mdf_json: Callable[..., Any],
    restorer: Job,
    photos: Path,
    options: list[str],
    message: str,
    where: list[str],
) -> None:
    data = photos if where else restorer.spec["dataset_id"]
    result = mdf_command("restore-train", data, *options, *where)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["restore-train", "nowhere", "--preset", "x"], "there is no folder or archive nowhere"),
        (["restore-train", "{file}", "--preset", "x", "--local"], "unpack it"),
        (["restore-train", "{folder}", "--preset", "x", "--loss", "no.pth"], "no loss file no.pth"),
        (["restore-train", "{folder}", "--preset", "x", "--loss", "{"], "is not JSON"),
        (["restore-train", "{folder}", "--preset", "x", "--factor", "2"], "--factor belongs to"),
        (["restore", "nowhere.png", "--model", "{file}"], "there is no file nowhere.png"),
        (["restore", "{file}", "--model", "m.pth"], "there is no file m.pth"),
        (["restore", "{file}", "--model", "{file}", "--format", "bmp"], "unknown format 'bmp'"),
        (["restore", "{file}", "--model", "{file}", "--quality", "9"], "--quality belongs to"),
    ],
)
def test_wrong_usage_is_told(
    mdf_command: Callable[..., Result],
    seed_file: Path,
    photos: Path,
    arguments: list[str],
    message: str,
) -> None:
    filled = [
        part.replace("{file}", str(seed_file)).replace("{folder}", str(photos))
        for part in arguments
    ]
    result = mdf_command(*filled)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""


def test_a_file_that_is_no_model_is_told_in_one_line(
    mdf_command: Callable[..., Result], seed_file: Path
) -> None:
    for where in ([], ["--local"]):
        result = mdf_command("restore", seed_file, "--model", seed_file, *where)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: ")
        assert "cat.png" in result.stderr
        assert result.stderr.count("\n") == 1


def test_work_is_described_in_words() -> None:
    assert describe_task({"kind": "sisr", "factor": 4}) == "sisr ×4"
    assert describe_network({"kind": "edsr", "scale": 4}) == "edsr ×4"
    assert describe_network({"kind": "dncnn", "depth": 8}) == "dncnn"
    l2, mdf = {"kind": "l2"}, {"kind": "mdf", "loss_id": "loss_1"}
    terms = [{"weight": 1.0, "loss": l2}, {"weight": 0.1, "loss": mdf}]
    assert describe_loss({"kind": "sum", "terms": terms}) == "l2 + 0.1 mdf"
    stages = [{"until": 9, "loss": l2}, {"loss": mdf}]
    assert describe_loss({"kind": "schedule", "stages": stages}) == "l2, then mdf"
    assert describe_metrics({"loss": 0.5, "validation_psnr": 28.15, "learning_rate": 1}) == (
        "loss 0.5  PSNR 28.1"
    )
