"""`mdf demo`, with a recipe of seconds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mdf

pytestmark = pytest.mark.slow


TINY_RESTORERS = ("iterations=4", "patch=24", "batch=2", "validate_every=2")


def test_the_demo_ends_with_a_loss_and_two_restorers_and_goes_on_after_an_interrupt(
    start: Callable[..., Any], seed_file: Path, overrides: list[str], tmp_path: Path
) -> None:
    settings = [part for value in TINY_RESTORERS for part in ("--set-restorer", value)]
    recipe = (*overrides, "--set", "iterations=60", *settings)
    command = ("demo", "--seed", seed_file, *recipe, "--out", "here")
    first = start(*command)
    first.await_line("scale 1/2")
    first.interrupt()
    code, output, errors = first.end()
    assert (code, output) == (130, "")
    assert errors.endswith("Stopped. The same command goes on from the last checkpoint.\n")

    code, output, errors = start(*command, "--json").end(240)
    assert code == 0, errors
    assert "Going on" in errors
    result = json.loads(output)
    assert result["job"]["state"] == "succeeded"
    assert result["files"] == [
        "here/cat-jpeg.safetensors",
        "here/cat-jpeg-contact-sheet.png",
        "here/cat-jpeg-restorer-l2.safetensors",
        "here/cat-jpeg-restorer-mdf.safetensors",
        "here/cat-jpeg-comparison.png",
    ]
    loss = mdf.load_loss(tmp_path / result["files"][0])
    assert loss.manifest.task["quality"] == [7, 10]
    rows = result["sensitivity"]
    assert [row["name"] for row in rows] == [
        "quality 90",
        "quality 30",
        "quality 10",
        "quality 7",
        "noise, PSNR of quality 10",
        "blur, PSNR of quality 10",
    ]
    assert [row["psnr"] for row in rows[:4]] == sorted((r["psnr"] for r in rows[:4]), reverse=True)
    for row in rows[4:]:
        assert row["psnr"] == pytest.approx(rows[2]["psnr"], abs=0.05)
    assert all(value > 0 for row in rows for value in row["values"])
    scores = result["restoration"]
    assert list(scores) == ["degraded", "trained with L2", "trained with MDF"]
    assert list(scores["degraded"]) == ["PSNR", "SSIM", "MS-SSIM", "GMSD", "FSIM", "MDF"]
    assert scores["degraded"]["PSNR"] == pytest.approx(26.7, abs=1)
    assert (tmp_path / "here" / "cat-jpeg-comparison.png").read_bytes().startswith(b"\x89PNG")

    code, output, errors = start(*command).end(120)
    assert code == 0, errors
    assert errors.count("Done before by an earlier demo") == 3
    assert "Ahead on this photograph: " in output


def test_a_bad_photograph_is_told_in_one_line(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"not an image")
    code, output, errors = start("demo", "--seed", "bad.jpg").end()
    assert (code, output) == (1, "")
    assert errors.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in errors
