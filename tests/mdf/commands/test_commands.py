"""The command line as a whole."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mdf.commands import app
from mdf.commands.faults import FaultBoundary

GUIDE = Path(__file__).parents[3] / "docs" / "command-line.md"


def command_names() -> list[str]:
    names = [str(command.name) for command in app.registered_commands]
    for group in app.registered_groups:
        for command in group.typer_instance.registered_commands:
            names.append(f"{group.name} {command.name or command.callback.__name__}")
    return names


@pytest.mark.parametrize("name", command_names())
def test_every_command_has_help_and_stands_in_the_guide(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert re.search(rf"\| `mdf {name}[ `]", GUIDE.read_text(encoding="utf-8"))


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"mdf {version('mdf')}\n"


def test_an_unknown_command_is_wrong_usage() -> None:
    assert CliRunner().invoke(app, ["dance"]).exit_code == 2
    assert CliRunner().invoke(app, ["jobs", "dance"]).exit_code == 2


@pytest.mark.parametrize(
    "arguments", [["jobs", "ls"], ["losses", "ls"], ["images", "ls"], ["jobs", "follow", "job_1"]]
)
def test_without_a_server_one_line_says_how_to_start_one(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, [*arguments, "--url", "http://127.0.0.1:9"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: no answer from the server at http://127.0.0.1:9: ")
    assert result.stderr.endswith(
        "Start one with `mdf serve`, or name another with --url or MDF_URL\n"
    )
    assert result.stderr.count("\n") == 1


def test_an_address_that_is_none_is_told() -> None:
    result = CliRunner().invoke(app, ["jobs", "ls", "--url", "localhost:8000"])
    assert result.exit_code == 1
    assert result.stderr == (
        "error: the server's address is 'localhost:8000'; it must look like http://host:8000\n"
    )


def test_a_wrong_key_is_told_with_what_to_do(service: Any) -> None:
    result = CliRunner().invoke(app, ["jobs", "ls", "--url", service.url, "--api-key", "mdf_wrong"])
    assert result.exit_code == 1
    assert "Give a key with --api-key or MDF_API_KEY" in result.stderr


def test_a_file_that_cannot_be_written_is_told(
    mdf_command: Callable[..., Any], trained: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    result = mdf_command("losses", "get", trained.loss_id, "--out", tmp_path / "file" / "loss")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert str(tmp_path / "file") in result.stderr


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (OSError(28, "No space left on device"), "error: No space left on device\n"),
        (OSError("cannot find a free port"), "error: cannot find a free port\n"),
        (ConnectionResetError(), "error: ConnectionResetError\n"),
        (OSError(13, "Permission denied", "x.png"), "error: x.png: Permission denied\n"),
    ],
)
def test_a_fault_of_the_system_is_one_line(fault: OSError, line: str) -> None:
    broken = typer.Typer(cls=FaultBoundary)

    @broken.command()
    def work() -> None:
        raise fault

    broken.callback()(lambda: None)
    result = CliRunner().invoke(broken, ["work"])
    assert (result.exit_code, result.stderr) == (1, line)


@pytest.mark.parametrize("command", ["serve", "demo", "migrate"])
def test_without_the_server_code_it_is_said_where_it_is(command: str, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['services'] = None; sys.argv = ['mdf', sys.argv[1]];"
        "from mdf.commands import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, command],
        cwd=tmp_path,
        env={**os.environ, "MDF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(
        "error: the server's code is not installed: it runs from a checkout"
    )
    assert "Traceback" not in result.stderr
