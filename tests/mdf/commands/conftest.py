"""Ways to run the command line."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mdf.commands import app
from tests.waiting import wait_until

# `mdf` whose local trainings go no further than a few iterations until they are asked to stop.
HALTING = """
import time
from mdf.commands import main
from services.local import LocalRun
from services.run import Signal

poll = LocalRun.poll

def halt_and_poll(run):
    while run._polls == 3 and run._signal is Signal.CONTINUE:
        time.sleep(0.01)
    return poll(run)

LocalRun.poll = halt_and_poll
main()
"""


@dataclass
class Running:
    """A command in a process of its own."""

    process: subprocess.Popen[str]
    errors: list[str]
    reader: threading.Thread

    def await_line(self, text: str) -> None:
        """Return when standard error has had `text`."""

        def look() -> bool:
            has_ended = not self.reader.is_alive()
            has_come = any(text in line for line in self.errors)
            assert has_come or not has_ended, f"ended before {text!r}: {self.errors}"
            return has_come

        wait_until(look, told=lambda: f"{text!r} has not come: {self.errors}")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self, seconds: float = 90) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        code = self.process.wait(seconds)
        self.reader.join(seconds)
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

    def run(
        *arguments: object, program: Sequence[str] = ("-m", "mdf"), **environment: str
    ) -> Running:
        process = subprocess.Popen(
            [sys.executable, "-P", *program, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        errors: list[str] = []
        reader = threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True)
        reader.start()
        running = Running(process, errors, reader)
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
