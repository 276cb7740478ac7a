"""The commands of whoever runs the service: storage, backup and restore."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

from services.installation import Installation


@pytest.fixture
def service() -> SimpleNamespace:
    """None runs: these commands work on the database and the files."""
    return SimpleNamespace(url="http://127.0.0.1:9")


@pytest.fixture
def here(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of a shell on the server's machine; gives MDF_HOME."""
    for name, value in installation.settings.environment().items():
        monkeypatch.setenv(name, value)
    return installation.settings.home_folder


def test_storage_tells_what_fills_the_disk_and_frees_it(
    here: Path,
    installation: Installation,
    seed_image: Any,
    mdf_command: Callable[..., Result],
    mdf_json: Callable[..., Any],
) -> None:
    orphan = installation.blobs.folder / "images" / "orphan.png"
    orphan.write_bytes(bytes(2500))
    os.utime(orphan, (0, 0))
    shown = mdf_command("storage")
    lines = {line.split()[0]: line.split()[1:] for line in shown.stdout.splitlines()[2:]}
    assert lines["images"][0] == "2"
    assert lines["images"][-3:] == ["1,", "2", "kB"]
    assert shown.stderr.splitlines()[-1] == "Free the orphans now: mdf storage --sweep"
    told = mdf_json("storage", "--sweep")
    assert (told["bytes_freed"], told["orphan_bytes"], told["missing"]) == (2500, 0, [])
    images = {"kind": "images", "files": 1, "bytes": seed_image.size}
    assert images | {"orphans": 0, "orphan_bytes": 0} in told["kinds"]
    assert not orphan.exists()


def test_a_backup_is_made_and_restored_by_one_command_each(
    here: Path,
    tmp_path: Path,
    seed_image: Any,
    mdf_command: Callable[..., Result],
    mdf_json: Callable[..., Any],
) -> None:
    archive = tmp_path / "mdf.tar"
    made = mdf_json("backup", archive)
    assert made["path"] == str(archive)
    assert (made["files"], made["missing"], made["damaged"]) == (2, [], [])
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    again = mdf_command("backup", archive)
    assert again.exit_code == 1
    assert again.stderr.endswith("exists: name a new file, or remove it first\n")

    elsewhere = tmp_path / "elsewhere"
    restored = mdf_command("restore-backup", archive, "--home", elsewhere)
    assert (restored.exit_code, restored.stdout) == (0, f"{elsewhere}\n")
    assert restored.stderr.startswith("2 files, ")
    assert (elsewhere / "blobs" / seed_image.blob).stat().st_size == seed_image.size
    again = mdf_command("restore-backup", archive, "--home", elsewhere)
    assert again.exit_code == 1
    assert "is not empty: name a folder in MDF_HOME" in again.stderr
