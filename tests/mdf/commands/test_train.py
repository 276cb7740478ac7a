"""`mdf train`, on the service and in its own process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

import mdf
from mdf.client import Client
from tests.mdf.commands.conftest import HALTING

pytestmark = pytest.mark.slow

LONG = ["--preset", "quick", "--set", "iterations=100000"]


def test_a_loss_is_trained_followed_and_saved(
    start: Callable[..., Any], service: Any, seed_file: Path, overrides: list[str], tmp_path: Path
) -> None:
    running = start(
        "train", seed_file, "--preset", "quick", *overrides, "--out", "here", MDF_URL=service.url
    )
    code, output, errors = running.end(180)
    assert code == 0, errors
    job_id, *files = output.split()
    assert files == ["here/cat-jpeg.safetensors", "here/cat-jpeg-contact-sheet.png"]
    assert mdf.load_loss(tmp_path / files[0]).manifest.task["kind"] == "jpeg"
    assert "scale 2/2  iteration 8/8  100%" in errors
    assert f"{job_id} (cat-jpeg) succeeded after" in errors


def test_interrupting_detaches_and_does_not_cancel(
    start: Callable[..., Any], service: Any, seed_file: Path, overrides: list[str]
) -> None:
    running = start(
        "train", seed_file, *overrides, *LONG, "--follow", "--name", "long", MDF_URL=service.url
    )
    running.await_line("scale 1/2")
    running.interrupt()
    code, output, errors = running.end()
    job_id = output.strip()
    assert code == 130
    assert errors.endswith(f"{job_id} goes on without us. Come back: mdf jobs follow {job_id}\n")
    assert "Traceback" not in errors
    with Client(service.url) as client:
        try:
            assert client.jobs.get(job_id).state == "running"
            following = start("jobs", "follow", job_id, MDF_URL=service.url)
            following.await_line("scale 1/2")
        finally:
            client.jobs.cancel(job_id)
    assert following.end()[0] == 1
    assert start("jobs", "wait", job_id, MDF_URL=service.url).end()[::2] == (
        1,
        f"{job_id} (long) canceled\n",
    )


def test_the_job_is_printed_as_json(
    mdf_json: Callable[..., Any], mdf_command: Callable[..., Result], seed_file: Path
) -> None:
    job = mdf_json("train", seed_file, "--task", "denoising", "--sigma", 5, 25, *LONG)["job"]
    try:
        assert job["spec"]["task"] == {"kind": "denoising", "sigma": [5, 25]}
        assert job["name"] == "cat-denoising"
        assert job["spec"]["recipe"]["iterations"] == 100_000
    finally:
        assert mdf_command("jobs", "cancel", job["id"]).exit_code == 0


def test_a_pipeline_of_distortions_comes_from_a_file(
    mdf_json: Callable[..., Any],
    mdf_command: Callable[..., Result],
    seed_file: Path,
    tmp_path: Path,
) -> None:
    pipeline = [{"kind": "gaussian_blur", "sigma": [0.5, 2]}, {"kind": "jpeg", "quality": 30}]
    file = tmp_path / "pipeline.json"
    file.write_text(json.dumps(pipeline))
    job = mdf_json("train", seed_file, "--task", file, *LONG)["job"]
    mdf_command("jobs", "cancel", job["id"])
    assert job["spec"]["task"] == {"kind": "custom", "distortions": pipeline}


def test_a_local_training_that_is_interrupted_goes_on_to_the_same_bytes(
    start: Callable[..., Any], seed_file: Path, overrides: list[str], tmp_path: Path
) -> None:
    command = ("train", seed_file, "--local", "--preset", "quick", *overrides)
    recipe = ("--set", "iterations=30")
    whole = start(*command, *recipe, "--out", "whole")
    code, output, errors = whole.end(180)
    assert code == 0, errors
    suffixes = [".safetensors", ".pth", ".pt2", "-contact-sheet.png"]
    assert output.split() == [f"whole/cat-jpeg{suffix}" for suffix in suffixes]

    halved = start(*command, *recipe, "--out", "halved", program=("-c", HALTING))
    halved.await_line("iteration 1/30")
    halved.interrupt()
    code, output, errors = halved.end()
    assert (code, output) == (130, "")
    assert errors.endswith("Stopped at a checkpoint. The same command goes on from there.\n")
    code, _, errors = start(*command, *recipe, "--out", "halved").end(180)
    assert code == 0, errors
    for suffix in suffixes:
        name = f"cat-jpeg{suffix}"
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "halved" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "halved").iterdir()) == sorted(
        f"cat-jpeg{suffix}" for suffix in suffixes
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "haze"], "unknown task 'haze'; there are jpeg, denoising, sisr"),
        (["--sigma", "0", "9"], "--sigma belongs to --task denoising, not to jpeg"),
        (["--task", "sisr", "--quality", "7", "9"], "--quality belongs to --task jpeg"),
        (["--set", "iterations"], "'iterations' is not NAME=VALUE"),
        (["--quality", "seven", "9"], "integer"),
        (["--task", "missing.json"], "there is no file missing.json"),
        (["nowhere.png"], "there is no file nowhere.png"),
    ],
)
def test_wrong_usage_is_told(
    mdf_command: Callable[..., Result], seed_file: Path, options: list[str], message: str
) -> None:
    result = mdf_command("train", seed_file, *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["train", "demo"])
@pytest.mark.parametrize("content", ['{"quality": [7, 10]}', '{"kind": 7}', "5"])
def test_a_task_file_without_a_kind_is_told(
    mdf_command: Callable[..., Result],
    seed_file: Path,
    tmp_path: Path,
    command: str,
    content: str,
) -> None:
    task = tmp_path / "x.json"
    task.write_text(content)
    seed = [seed_file] if command == "train" else ["--out", tmp_path / "out"]
    result = mdf_command(command, *seed, "--task", task)
    assert result.exit_code == 2
    assert "a task object with its `kind`" in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "best"], "preset: "),
        (["--set", "tapps=1"], "recipe.tapps: "),
        (["--set", "iterations=0"], "recipe.iterations: "),
        (["--quality", "0", "10"], "task.quality: "),
        (["--task", "denoising", "--sigma", "-1", "5"], "task.sigma: "),
        (["--set", "factor=2"], "the seed of 160×128 px is too small"),
        (["--name", "two\nlines"], "name: "),
    ],
)
@pytest.mark.parametrize("where", [[], ["--local"]], ids=["server", "local"])
def test_what_cannot_be_trained_is_told_in_one_line(
    mdf_command: Callable[..., Result],
    seed_file: Path,
    options: list[str],
    message: str,
    where: list[str],
) -> None:
    if where and "--name" in options:
        pytest.skip("a local training's name is a file's, and made to fit one")
    result = mdf_command("train", seed_file, *options, *where)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("where", [[], ["--local"]], ids=["server", "local"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"not an image", "not an image"),
        (b"GIF89a...", "GIF"),
        (b"\x89PNG\r\n\x1a\n broken", ""),
    ],
)
def test_a_file_that_is_no_image_is_told_in_one_line(
    mdf_command: Callable[..., Result],
    tmp_path: Path,
    content: bytes,
    message: str,
    where: list[str],
) -> None:
    file = tmp_path / "bad.png"
    file.write_bytes(content)
    result = mdf_command("train", file, *where)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "bad.png" in result.stderr
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_estimate_starts_nothing(
    mdf_json: Callable[..., Any], mdf_command: Callable[..., Result], seed_file: Path
) -> None:
    before = mdf_json("jobs", "ls")
    told = mdf_json("train", seed_file, "--preset", "quick", "--estimate")
    assert 0 < told["seconds_low"] < told["seconds_high"]
    words = mdf_command("train", seed_file, "--preset", "quick", "--estimate").output
    assert [line.split()[0] for line in words.splitlines()] == ["time", "memory", "basis", "starts"]
    assert mdf_json("jobs", "ls") == before
    refused = mdf_command("train", seed_file, "--estimate", "--local")
    assert refused.exit_code == 2
    assert "leave --local out" in refused.output
