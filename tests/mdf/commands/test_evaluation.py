"""`mdf evaluate` and `mdf evaluations`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from mdf.client import Client, Job

pytestmark = pytest.mark.slow


def test_models_are_compared_and_the_result_is_told(
    mdf_command: Callable[..., Result],
    service: Any,
    restorer: Job,
    photos: Path,
    tmp_path: Path,
) -> None:
    with Client(service.url) as client:
        file = client.models.download(str(restorer.model_id), tmp_path / "again.safetensors")
        dataset_id = restorer.spec["dataset_id"]
    models = ("--model", restorer.model_id, "--model", file)
    command = ("evaluate", *models, "--dataset", dataset_id, "--metric", "psnr", "--metric", "l1")
    found = mdf_command(*command, "--name", "twice the same", "--follow", "--json")
    assert found.exit_code == 0, found.stderr
    evaluation = json.loads(found.stdout)
    assert evaluation["name"] == "twice the same"
    first, second = (each["results"]["psnr"] for each in evaluation["candidates"][1:])
    assert first == second
    assert evaluation["dataset"]["held_out"]

    shown = mdf_command("evaluations", "show", evaluation["id"])
    assert "PSNR, dB: higher is better" in shown.stdout
    assert "L1: lower is better" in shown.stdout
    assert "Degraded input" in shown.stdout
    assert evaluation["id"] in mdf_command("evaluations", "ls").stdout
    lines = mdf_command("evaluations", "show", evaluation["id"], "--json", "--values").stdout
    (image,) = map(json.loads, lines.splitlines())
    assert image["values"]["input"].keys() == {"psnr", "l1"}
    job = mdf_command("jobs", "show", evaluation["job_id"]).stdout
    assert evaluation["id"] in job
    assert str(restorer.model_id) in job


def test_what_is_wrong_is_told(mdf_command: Callable[..., Result], restorer: Job) -> None:
    model, dataset = str(restorer.model_id), restorer.spec["dataset_id"]
    command = ("evaluate", "--model", model, "--dataset", dataset)
    refused = mdf_command(*command, "--metric", "niqe")
    assert refused.exit_code == 1
    assert "metrics" in refused.stderr
    assert mdf_command(*command, "--sigma", "1", "2").exit_code == 2
    assert mdf_command("evaluations", "show", "eval_0").exit_code == 1
    assert mdf_command("evaluations", "show", "eval_0", "--values").exit_code == 2
