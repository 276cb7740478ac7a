"""Ways to run the command line."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mdf.commands import app


@dataclass
class Running:
    """A command in a process of its own."""

    process: subprocess.Popen[str]
    errors: list[str]

    def await_line(self, text: str, seconds: float = 90) -> None:
        """Return when standard error has had `text`."""
        end = time.monotonic() + seconds
        while not any(text in line for line in self.errors):
            assert time.monotonic() < end, f"{text!r} has not come: {self.errors}"
            assert self.process.poll() is None, f"ended before {text!r}: {self.errors}"
            time.sleep(0.05)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self, seconds: float = 90) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        code = self.process.wait(seconds)
        time.sleep(0.1)  # for the reader of standard error
        return code, output, "".join(self.errors)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MDF_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start `mdf …` in a process of its own, in a folder of a user who has packages too."""
    for package in ("models", "services", "workers"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    started: list[Running] = []

    def run(*arguments: object, **environment: str) -> Running:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mdf", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running = Running(process, [])
        assert process.stderr is not None
        lines = process.stderr
        threading.Thread(target=lambda: running.errors.extend(lines), daemon=True).start()
        started.append(running)
        return running

    yield run
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait()


@pytest.fixture
def mdf_command(service: Any) -> Callable[..., Result]:
    """Run `mdf …` against the service, within this process."""

    def run(*arguments: object) -> Result:
        # What a command sets for its children is unset after it: other tests start programs too.
        environment = {"MDF_URL": service.url, "PYTHONSAFEPATH": None}
        return CliRunner().invoke(app, [*map(str, arguments)], env=environment)

    return run


@pytest.fixture
def mdf_json(mdf_command: Callable[..., Result]) -> Callable[..., Any]:
    """Run `mdf … --json`, which must succeed, and read what it prints."""

    def run(*arguments: object) -> Any:
        result = mdf_command(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


@pytest.fixture
def overrides(tiny: dict[str, int]) -> list[str]:
    """The tiny recipe as options."""
    return [part for name, value in tiny.items() for part in ("--set", f"{name}={value}")]
