"""`mdf losses` and `mdf images`."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import Result

from mdf.client import Job


def test_losses_are_listed_and_described(
    mdf_command: Callable[..., Result], mdf_json: Callable[..., Any], trained: Job
) -> None:
    listed = mdf_command("losses", "ls").stdout
    line = next(line for line in listed.splitlines() if str(trained.loss_id) in line)
    assert line.split()[1:5] == ["jpeg,", "quality", "7–10", "2"]
    assert trained.loss_id in [loss["id"] for loss in mdf_json("losses", "ls")]
    assert mdf_command("losses", "card", trained.loss_id).stdout.startswith("#")
    assert mdf_json("losses", "card", trained.loss_id)["card"].startswith("#")


@pytest.mark.parametrize("file_format", ["safetensors", "pth", "pt2"])
def test_a_loss_is_downloaded_as_file_or_into_a_folder(
    mdf_command: Callable[..., Result], trained: Job, tmp_path: Path, file_format: str
) -> None:
    command = ("losses", "get", trained.loss_id, "--format", file_format, "--out")
    into_folder = mdf_command(*command, tmp_path)
    assert into_folder.stdout == f"{tmp_path}/cat-jpeg.{file_format}\n"
    as_file = mdf_command(*command, tmp_path / "new" / "my.file")
    assert as_file.stdout == f"{tmp_path}/new/my.file\n"
    assert (tmp_path / "new" / "my.file").read_bytes() == (
        tmp_path / f"cat-jpeg.{file_format}"
    ).read_bytes()


def test_a_loss_is_imported_compared_and_removed(
    mdf_command: Callable[..., Result],
    mdf_json: Callable[..., Any],
    trained: Job,
    seed_file: Path,
    tmp_path: Path,
) -> None:
    file = tmp_path / "mine.safetensors"
    mdf_command("losses", "get", trained.loss_id, "--out", file)
    loss_id = mdf_command("losses", "import", file).stdout.strip()
    assert loss_id.startswith("loss_")
    compared = mdf_json("losses", "compare", loss_id, seed_file, seed_file)
    assert compared["value"] == 0
    synthetic = ("--set", "width=160", "--set", "height=128")
    noise = mdf_command("images", "synthesize", "pink-noise", *synthetic).stdout.strip()
    table = mdf_command("losses", "compare", loss_id, noise, seed_file, "--maps", tmp_path / "maps")
    assert table.stdout.startswith("loss  ")
    assert table.stdout.splitlines()[1].startswith("SCALE")
    assert len(list((tmp_path / "maps").glob("scale-*.png"))) > 2
    push = tmp_path / "push.png"
    mdf_command("losses", "compare", loss_id, noise, seed_file, "--gradient", push)
    with Image.open(push) as picture:
        assert picture.size == (160, 128)
    told = mdf_command("losses", "rm", loss_id).stderr
    assert re.fullmatch(rf"removed {loss_id}: [\d.]+ [kM]?B freed\n", told)
    gone = mdf_command("losses", "get", loss_id)
    assert (gone.exit_code, gone.stderr) == (1, f"error: no loss {loss_id}\n")


def test_what_cannot_be_imported_is_told(
    mdf_command: Callable[..., Result], tmp_path: Path
) -> None:
    file = tmp_path / "bad.pth"
    file.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    result = mdf_command("losses", "import", file)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_an_unknown_format_is_told_with_those_that_are(
    mdf_command: Callable[..., Result], trained: Job
) -> None:
    result = mdf_command("losses", "get", trained.loss_id, "--format", "onnx")
    assert result.exit_code == 1
    assert "no file in the format 'onnx'; it has: " in result.stderr


def test_images_are_uploaded_listed_and_removed(
    mdf_command: Callable[..., Result],
    mdf_json: Callable[..., Any],
    seed_file: Path,
) -> None:
    (image,) = mdf_json("images", "upload", seed_file)
    assert (image["width"], image["height"], image["name"]) == (160, 128, "cat.png")
    assert image["id"] in mdf_command("images", "ls", "--limit", 1000).stdout
    made = mdf_command("images", "synthesize", "contrast-rings", "--set", "width=40")
    assert made.exit_code == 0, made.output
    assert mdf_command("images", "rm", made.stdout.strip()).exit_code == 0
    wrong = mdf_command("images", "synthesize", "fractal")
    assert wrong.exit_code == 1
    assert "pink-noise" in wrong.stderr
