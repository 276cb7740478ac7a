"""The commands of whoever runs the service: storage, backup and restore."""

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

from services.access import LOCAL
from services.installation import Installation
from services.jobs.submission import submit
from services.phase1.recipe import DiscriminatorTraining

# `mdf` that gets no further than its first piece of a file.
HALTING = """
import sys, time
from mdf.commands import main
from services import backup

read = backup._Reader.read

def read_and_halt(reader, size=-1):
    content = read(reader, size)
    print("at work", file=sys.stderr, flush=True)
    time.sleep(600)
    return content

backup._Reader.read = read_and_halt
main()
"""


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


def test_files_that_the_database_does_not_know_are_swept_by_force_only(
    here: Path,
    installation: Installation,
    mdf_command: Callable[..., Result],
    mdf_json: Callable[..., Any],
) -> None:
    for number in range(21):
        file = installation.blobs.folder / "losses" / f"{number}.pth"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"ten bytes.")
        os.utime(file, (0, 0))
    refused = mdf_command("storage", "--sweep")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: nothing is swept: 21 of 21 files would go. Is this")
    assert len(installation.blobs.keys("losses")) == 21
    assert mdf_json("storage", "--sweep", "--force")["bytes_freed"] == 210
    assert installation.blobs.keys("losses") == []


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_backup_and_a_restore_and_nothing_is_left(
    here: Path,
    tmp_path: Path,
    installation: Installation,
    seed_image: Any,
    mdf_json: Callable[..., Any],
    start: Callable[..., Any],
    number: signal.Signals,
) -> None:
    spec = {"seed_image_ids": [seed_image.id], "task": {"kind": "sisr"}, "preset": "quick"}
    with installation.database.write() as session:
        job = submit(session, DiscriminatorTraining.model_validate(spec), caller=LOCAL)
        job.checkpoint = f"checkpoints/{job.id}/1-1"
    installation.blobs.put(job.checkpoint, bytes(1000))
    archives = tmp_path / "archives"
    archives.mkdir()

    def end_at_work(folder: Path, *command: object, **environment: str) -> None:
        running = start(*command, program=("-c", HALTING), **environment)
        running.await_line("at work")
        assert any(folder.glob(".*/*"))
        for _ in range(3):
            running.process.send_signal(number)
        assert running.end()[0] == 130, running.errors
        assert list(folder.iterdir()) == []

    end_at_work(archives, "backup", archives / "mdf.tar")
    mdf_json("backup", tmp_path / "mdf.tar")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    end_at_work(elsewhere, "restore-backup", tmp_path / "mdf.tar", MDF_HOME=str(elsewhere))


def test_what_is_wrong_with_the_database_or_its_folder_is_told_in_a_line(
    tmp_path: Path, mdf_command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "mdf.sqlite"
    database.write_bytes(b"something else" * 1000)
    monkeypatch.setenv("MDF_HOME", str(tmp_path))
    monkeypatch.setenv("MDF_PORT", "0")
    for command in (("serve",), ("storage",), ("migrate",)):
        told = mdf_command(*command)
        assert (told.exit_code, told.stdout) == (1, "")
        assert told.stderr.startswith(f"error: the database {database} is damaged (file is not a")
    told = mdf_command("backup", tmp_path / "mdf.tar")
    assert (told.exit_code, told.stdout) == (1, "")
    assert "file is not a database" in told.stderr
    monkeypatch.setenv("MDF_HOME", str(database))
    for command in (("serve",), ("storage",), ("restore-backup", database)):
        told = mdf_command(*command)
        assert (told.exit_code, told.stdout) == (1, "")
        assert told.stderr.endswith(f"{database}, which is a file: name a folder\n")


@pytest.mark.parametrize("command", [("migrate",), ("storage",), ("keys", "ls", "--local")])
def test_a_database_that_cannot_be_opened_is_named_in_a_line(
    tmp_path: Path,
    mdf_command: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    monkeypatch.setenv("MDF_HOME", str(tmp_path))
    (tmp_path / "mdf.sqlite").mkdir()
    told = mdf_command(*command)
    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr == (
        f"error: the database {tmp_path}/mdf.sqlite cannot be opened (unable to open database "
        "file): start its server, or put its file in its place; MDF_DATABASE_URL or MDF_HOME "
        "names it\n"
    )
    url = "postgresql+psycopg://anna:secret@127.0.0.1:9/mdf?password=secret"
    monkeypatch.setenv("MDF_DATABASE_URL", url)
    told = mdf_command(*command)
    assert (told.exit_code, told.stdout) == (1, "")
    named = "error: the database postgresql+psycopg://anna:***@127.0.0.1:9/mdf cannot be opened ("
    assert told.stderr.startswith(named)
    assert "Connection refused" in told.stderr
    assert "secret" not in told.stderr
