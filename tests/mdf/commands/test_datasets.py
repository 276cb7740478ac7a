"""`mdf datasets`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data
from typer.testing import Result

import mdf.client.datasets as module
from mdf.client import Client

PHOTO = np.ascontiguousarray(data.astronaut()[:48, :64])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photographs, and a file that is none."""
    path = tmp_path / "cats"
    path.mkdir()
    for place in range(2):
        Image.fromarray(np.roll(PHOTO, place, axis=1)).save(path / f"{place}.png")
    (path / "notes.txt").write_text("no picture")
    return path


def test_a_folder_becomes_a_data_set_to_look_at(
    mdf_command: Callable[..., Result],
    mdf_json: Callable[..., Any],
    folder: Path,
    tmp_path: Path,
) -> None:
    created = mdf_command("datasets", "create", folder, "--name", "my cats")
    assert created.exit_code == 0, created.output
    dataset_id = created.stdout.strip()
    assert dataset_id.startswith("ds_")
    assert f"{dataset_id} (my cats) is ready: 2 images" in created.stderr
    assert "not taken: notes.txt: the file is not an image" in created.stderr
    line = next(
        line for line in mdf_command("datasets", "ls").stdout.splitlines() if dataset_id in line
    )
    assert line.split()[1:5] == ["ready", "2", "0.0", "my"]
    shown = mdf_command("datasets", "show", dataset_id).stdout
    assert "my cats" in shown
    assert "notes.txt" in shown
    assert mdf_json("datasets", "show", dataset_id)["images"] == 2
    assert "64×48" in mdf_command("datasets", "images", dataset_id).stdout
    assert [image["name"] for image in mdf_json("datasets", "images", dataset_id)] == [
        "0.png",
        "1.png",
    ]
    saved = mdf_command("datasets", "sheet", dataset_id, "--out", tmp_path).stdout
    assert saved == f"{tmp_path}/my-cats-sheet.png\n"
    assert Image.open(tmp_path / "my-cats-sheet.png").format == "PNG"
    removed = mdf_json("datasets", "rm", dataset_id)
    assert removed["removed"] == [dataset_id]
    assert removed["bytes_freed"] > 1000
    assert dataset_id not in mdf_command("datasets", "ls").stdout


def test_a_data_set_that_fails_says_why(
    mdf_command: Callable[..., Result], mdf_json: Callable[..., Any], folder: Path
) -> None:
    result = mdf_command("datasets", "create", folder, "--on-bad-file", "refuse")
    assert result.exit_code == 1
    assert "bad files are refused, and there are some: notes.txt" in result.stderr
    mdf_json("datasets", "rm", result.stdout.strip())


def test_wrong_sources_are_refused_in_a_line(
    mdf_command: Callable[..., Result], tmp_path: Path
) -> None:
    nothing = mdf_command("datasets", "create", tmp_path / "nothing.zip")
    assert nothing.exit_code == 2
    assert "there is no file or folder" in " ".join(nothing.stderr.split())
    remote = mdf_command("datasets", "create", "/data", "--on-server")
    assert remote.exit_code == 1
    assert "imports no folders" in remote.stderr


def test_an_upload_that_was_interrupted_is_taken_up(
    mdf_command: Callable[..., Result], service: Any, folder: Path, tmp_path: Path
) -> None:
    with module._archive(folder) as (archive, size):
        archive.seek(0)
        with Client(service.url) as client:
            dataset = client.datasets._create(
                {"kind": "upload", "size": size}, name="cats", on_bad_file="skip"
            )
            path = f"/v1/datasets/{dataset.id}/content"
            client.datasets._send_part(path, 0, 1000, iter([archive.read(1000)]))
    resumed = mdf_command("datasets", "create", folder, "--resume", dataset.id)
    assert resumed.exit_code == 0, resumed.output
    assert resumed.stdout.strip() == dataset.id
    assert "is ready: 2 images" in resumed.stderr
