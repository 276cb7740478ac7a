"""The frame of the chaos suite: counts, chances, and the table of figures.

A scenario reads as follows; it fails if a promise was broken or a limit missed, and stands in
the table all the same:

    def test_a_killed_job_goes_on(house, count, chance, figures):
        with figures("1", "`kill -9` of a job", count(short=2, full=200)) as scenario:
            for _ in range(scenario.count):
                time.sleep(chance.uniform(0, 2))
                ...
                scenario.time("detection", seconds, p95=2.0)
                if lost:
                    scenario.violate(f"{job_id} is lost")
            scenario.figure("memory", grown, "MB", at_most=200)
"""

import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count as numbers
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from pydantic import SecretStr
from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import select, text

from services.blobs import BlobMissingError
from services.database.schema import Artifact, Image, Job, JobEvent, LossFile, ModelFile
from services.installation import Installation
from services.jobs.lifecycle import TRANSITIONS, State
from services.settings import Settings
from tests.conftest import House
from tests.postgresql import Server, running

_MAX_VIOLATIONS_SHOWN = 5
_NUMBERS = numbers(1)


@dataclass
class Scenario:
    """One row of the table: what a scenario did and measured, and what it may not miss."""

    number: str
    name: str
    count: int
    violations: list[str] = field(default_factory=list)
    skipped: bool = False
    seconds: float = 0.0
    _times: dict[str, list[float]] = field(default_factory=dict)
    _limits: dict[str, dict[str, float]] = field(default_factory=dict)
    _figures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def violate(self, what: str) -> None:
        """Note a broken promise; not one is allowed."""
        self.violations.append(what)

    def time(self, name: str, *seconds: float, **at_most: float) -> None:
        """Add durations; `at_most` limits their `p50`, `p95`, `p99` or `max`, in seconds."""
        self._times.setdefault(name, []).extend(seconds)
        self._limits.setdefault(name, {}).update(at_most)

    def figure(
        self,
        name: str,
        value: float,
        unit: str = "",
        *,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> None:
        """Set a figure and its limits; one that is set again replaces the old."""
        limits = {"at_most": at_most, "at_least": at_least}
        given = {key: limit for key, limit in limits.items() if limit is not None}
        self._figures[name] = {"value": value, "unit": unit, **given}

    def times(self) -> dict[str, dict[str, float]]:
        """By name: how many durations there are, and their p50, p95, p99 and max."""
        return {name: _summary(values) for name, values in self._times.items() if values}

    def missed(self) -> list[str]:
        """What was broken or missed, in words."""
        said = list(self.violations)
        for name, limits in self._limits.items():
            summary = self.times().get(name)
            if summary is None:
                said.append(f"{name}: nothing was measured")
                continue
            for key, limit in limits.items():
                if summary[key] > limit:
                    said.append(f"{name} {key} is {summary[key]:.3f} s; at most {limit:g} s")
        for name, given in self._figures.items():
            value, unit = given["value"], given["unit"]
            if value > given.get("at_most", value):
                said.append(f"{name} is {value:g} {unit}; at most {given['at_most']:g}")
            if value < given.get("at_least", value):
                said.append(f"{name} is {value:g} {unit}; at least {given['at_least']:g}")
        return said

    def row(self) -> dict[str, str]:
        """The row of the table."""
        return {
            "#": self.number,
            "scenario": self.name,
            "count": str(self.count),
            "violations": str(len(self.violations)),
            "figures": "; ".join(self._said()),
            "took": f"{self.seconds:.0f} s",
            "result": self._result(),
        }

    def record(self) -> dict[str, Any]:
        """The row for programs."""
        return {
            "number": self.number,
            "scenario": self.name,
            "count": self.count,
            "violations": self.violations,
            "times": {
                name: {**summary, "at_most": self._limits[name]}
                for name, summary in self.times().items()
            },
            "figures": self._figures,
            "seconds": self.seconds,
            "missed": self.missed(),
            "result": self._result(),
        }

    def _result(self) -> str:
        if self.missed():
            return "missed"
        return "skipped" if self.skipped else "passed"

    def _said(self) -> Iterator[str]:
        for name, summary in self.times().items():
            shown = ("p50", "p95", *sorted(self._limits[name].keys() - {"p50", "p95", "max"}))
            values = " / ".join(f"{summary[key]:.2f}" for key in (*shown, "max"))
            limits = ", ".join(f"{key} ≤ {limit:g}" for key, limit in self._limits[name].items())
            yield f"{name} {' / '.join((*shown, 'max'))} {values} s" + limits.join(
                (" (", ")") if limits else ("", "")
            )
        for name, given in self._figures.items():
            limits = [
                f"{sign} {given[key]:g}"
                for key, sign in (("at_most", "≤"), ("at_least", "≥"))
                if key in given
            ]
            unit = f" {given['unit']}" if given["unit"] else ""
            yield f"{name} {given['value']:.4g}{unit}" + (f" ({', '.join(limits)})" * bool(limits))


class Figures:
    """The table of this run; written after each scenario, so that a run cut short has one too."""

    def __init__(self, config: pytest.Config) -> None:
        self.form: str = config.getoption("chaos")
        self.scale: float = config.getoption("chaos_scale")
        self.database: str = config.getoption("chaos_database")
        given = config.getoption("chaos_seed")
        self.seed = random.SystemRandom().randrange(1 << 32) if given is None else given
        self._path: Path | None = config.getoption("chaos_report")
        self._began = datetime.now(UTC)
        self._load = os.getloadavg()[0]
        self._scenarios: list[Scenario] = []

    def count(self, *, short: int, full: int) -> int:
        """How often a scenario runs in the form that was asked for."""
        wanted = full if self.form == "full" else short
        return max(1, round(wanted * self.scale))

    @contextmanager
    def __call__(self, number: str, name: str, count: int = 1) -> Iterator[Scenario]:
        """A scenario's row; what it has broken or missed fails the test at the end."""
        scenario = Scenario(number, name, count)
        began = time.monotonic()
        try:
            yield scenario
        except pytest.skip.Exception:
            scenario.skipped = True
            raise
        except BaseException as error:
            reason = (str(error) or "no reason given").splitlines()[0]
            scenario.violate(f"stopped by {type(error).__name__}: {reason}")
            raise
        finally:
            scenario.seconds = time.monotonic() - began
            self._scenarios.append(scenario)
            self._write()
        missed = scenario.missed()
        assert not missed, f"seed {self.seed}:\n" + "\n".join(missed)

    def summary(self) -> str:
        """What was run, where and with what chances, in a line."""
        memory = psutil.virtual_memory().total / 2**30
        return (
            f"{self.form} form on {self.database}, scale {self.scale:g}, seed {self.seed}; "
            f"{self._began:%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, {memory:.0f} GiB, "
            f"load average {self._load:.1f} at the start, Python {platform.python_version()}"
        )

    def show(self, terminal: pytest.TerminalReporter) -> None:
        """Print the table, and what was missed."""
        if not self._scenarios:
            return
        terminal.section("chaos")
        terminal.line(self.summary())
        rows = [scenario.row() for scenario in self._scenarios]
        table = Table(*rows[0], box=box.SIMPLE_HEAD, show_lines=False)
        for row in rows:
            table.add_row(*row.values())
        # In a pipe there is no width to keep to.
        console = Console(width=max(terminal._tw.fullwidth, 140), no_color=True, markup=False)
        with console.capture() as captured:
            console.print(table)
        terminal.write(captured.get())
        for scenario in self._scenarios:
            for line in scenario.missed()[:_MAX_VIOLATIONS_SHOWN]:
                terminal.line(f"{scenario.number} {scenario.name}: {line}", red=True)

    def _write(self) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        rows = [scenario.row() for scenario in self._scenarios]
        lines = [
            self.summary(),
            "",
            "| " + " | ".join(rows[0]) + " |",
            "|" + " --- |" * len(rows[0]),
            *("| " + " | ".join(map(_cell, row.values())) + " |" for row in rows),
        ]
        self._path.with_suffix(".md").write_text("\n".join(lines) + "\n")
        content = {
            "form": self.form,
            "scale": self.scale,
            "database": self.database,
            "seed": self.seed,
            "began": self._began.isoformat(),
            "cores": os.cpu_count(),
            "load_average": self._load,
            "python": platform.python_version(),
            "scenarios": [scenario.record() for scenario in self._scenarios],
        }
        text = json.dumps(content, indent=2, ensure_ascii=False)
        self._path.with_suffix(".json").write_text(text + "\n")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)

    def rank(fraction: float) -> float:
        return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]

    return {
        "count": len(ordered),
        "p50": statistics.median(ordered),
        "p95": rank(0.95),
        "p99": rank(0.99),
        "max": ordered[-1],
    }


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server."""
    with running() as server:
        yield server


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[SecretStr | None]:
    """An empty database on the server that was asked for; none stands for a file of SQLite."""
    if request.config.getoption("chaos_database") == "sqlite":
        yield None
        return
    server: Server = request.getfixturevalue("postgresql")
    with server.database(f"chaos_{next(_NUMBERS)}") as url:
        # A tenth of the usual: tests wait for what was stopped in a transaction.
        yield SecretStr(f"{url}&options=-c%20idle_in_transaction_session_timeout%3D30s")


@pytest.fixture
def settings(settings: Settings, database_url: SecretStr | None) -> Settings:
    """Leases as by default: none ends while a busy machine starts a process."""
    changes = {"heartbeat_seconds": 5.0, "lease_seconds": 30.0, "database_url": database_url}
    return settings.model_copy(update=changes)


_TABLE = pytest.StashKey[Figures]()


def _table(config: pytest.Config) -> Figures:
    if _TABLE not in config.stash:
        config.stash[_TABLE] = Figures(config)
    return config.stash[_TABLE]


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """The table: `with figures(number, name, count) as scenario`."""
    return _table(pytestconfig)


@pytest.fixture(scope="session")
def count(figures: Figures) -> Callable[..., int]:
    """How often a scenario runs: `count(short=…, full=…)`, at least once."""
    return figures.count


@pytest.fixture
def chance(figures: Figures, request: pytest.FixtureRequest) -> random.Random:
    """The test's own chances: `--chaos-seed` brings them back."""
    print(f"chances from --chaos-seed {figures.seed}")
    return random.Random(f"{figures.seed}:{request.node.name}")


@pytest.fixture
def bare_house(installation: Installation, seed_image: Image, tmp_path: Path) -> House:
    """As for the other tests, but for a dispatcher with the patience that the service has."""
    return House(installation, seed_image, tmp_path)


class Api:
    """`python -m api` on a port of its own, to be stopped, killed and started again there."""

    def __init__(self, installation: Installation, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = installation.settings.model_copy(update={"port": self.port})
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; returns when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "api"],
                env={**os.environ, **self._settings.environment()},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + 60
        with httpx.Client(timeout=2) as http:  # making one takes as long as many questions
            while True:
                assert self._process.poll() is None, self._log.read_text()[-3000:]
                assert time.monotonic() < end, self._log.read_text()[-3000:]
                try:
                    http.get(f"{self.url}/healthz")
                except httpx.TransportError:
                    time.sleep(0.02)
                else:
                    return

    def stop(self) -> float:
        """Ask it to end; gives the seconds that this took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.terminate()
        self._process.wait(60)
        return time.monotonic() - began

    def kill(self) -> None:
        """End it without a warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def api(installation: Installation, tmp_path: Path) -> Iterator[Api]:
    """The API of the test's installation; to be started."""
    made = Api(installation, tmp_path / "api.log")
    yield made
    made.kill()


class Tree:
    """`mdf serve` with all its processes, to be killed whole or in parts."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{settings.port}"
        # What its processes leave behind in folders for temporary files is seen here.
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self._settings = settings
        self._log = folder / "tree.log"
        self._process: psutil.Popen | None = None

    def begin(self, program: Sequence[str] = ("-m", "mdf", "serve"), **variables: str) -> None:
        """Start it and return at once."""
        variables["TMPDIR"] = str(self.temporary)
        with self._log.open("ab") as log:
            self._process = psutil.Popen(
                [sys.executable, *program],
                env={**os.environ, **self._settings.environment(), **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_up(self) -> None:
        """Return once the API answers and every slot has shown itself."""
        slots = self._settings.slots + 1
        end = time.monotonic() + 60
        while self._slots_shown() < slots:
            assert self.root.is_running(), self._log.read_text()[-3000:]
            assert time.monotonic() < end, self._log.read_text()[-3000:]
            time.sleep(0.05)

    @property
    def root(self) -> psutil.Process:
        """`mdf serve` itself."""
        assert self._process is not None
        return self._process

    def parts(self) -> dict[str, list[psutil.Process]]:
        """Its processes: `serve`, `broker`, `api`, `worker` (one for each slot) and `job`."""
        found: dict[str, list[psutil.Process]] = {"serve": [self.root]}
        for process in self.root.children(recursive=True):
            with suppress(psutil.Error):  # it has just ended
                found.setdefault(_part(process.cmdline()), []).append(process)
        return found

    def left(self) -> list[psutil.Process]:
        """Processes of a root that was killed which have not followed it within seconds."""
        self.root.wait(5)
        mine = [process for process in psutil.process_iter() if self._is_mine(process)]
        return psutil.wait_procs(mine, timeout=5)[1]

    def _is_mine(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("TMPDIR") == str(self.temporary)
        except psutil.Error:  # it has ended, or is another user's
            return False

    def stop(self) -> None:
        """Ask it to end, in order."""
        if self._process is not None and self._process.is_running():
            self._process.terminate()
            self._process.wait(90)

    def _slots_shown(self) -> int:
        try:
            answer = httpx.get(f"{self.url}/v1/workers", timeout=2)
        except httpx.TransportError:
            return 0
        pids = {process.pid for process in self.parts().get("worker", ())}
        return sum(row["pid"] in pids for row in answer.json()["data"])


def _part(command: Sequence[str]) -> str:
    line = " ".join(command)
    words = {"redis-server": "broker", "job_": "job", "--slot": "worker", "-m api": "api"}
    return next((part for word, part in words.items() if word in line), "other")


@pytest.fixture
def tree(settings: Settings, tmp_path: Path) -> Iterator[Tree]:
    """`mdf serve` in the test's home and on the port of its settings; to be begun."""
    made = Tree(settings, tmp_path)
    yield made
    made.stop()


@pytest.fixture
def audit(installation: Installation) -> Callable[[Sequence[str]], list[str]]:
    """What is broken in an installation at rest, all of whose jobs should have succeeded."""

    def check(job_ids: Sequence[str]) -> list[str]:
        return list(_faults(installation, job_ids))

    return check


def _faults(installation: Installation, job_ids: Sequence[str]) -> Iterator[str]:
    with installation.database.read() as session:
        jobs = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(job_ids)))}
        events = session.scalars(
            select(JobEvent).where(JobEvent.job_id.in_(job_ids)).order_by(JobEvent.seq)
        ).all()
        files = [
            *session.scalars(select(Artifact).where(Artifact.job_id.in_(job_ids))),
            *session.scalars(select(LossFile)),
            *session.scalars(select(ModelFile)),
        ]
        if session.bind.dialect.name == "sqlite":
            for pragma in ("integrity_check", "foreign_key_check"):
                for said, *_ in session.execute(text(f"PRAGMA {pragma}")):
                    if said != "ok":
                        yield f"the database's {pragma} says {said}"
    for job_id in job_ids:
        if job_id not in jobs:
            yield f"{job_id} is lost"
            continue
        log = [event for event in events if event.job_id == job_id]
        if [event.seq for event in log] != list(range(1, jobs[job_id].last_seq + 1)):
            yield f"the events of {job_id} have gaps"
        states = [event.content["state"] for event in log if event.kind == "state"]
        if states[-1] != "succeeded" or states.count("succeeded") != 1:
            yield f"{job_id} went through {states}"
        for before, after in pairwise(states):
            if State(after) not in TRANSITIONS[State(before)]:
                yield f"{job_id} went from {before} to {after}"
    for file in files:
        try:
            content = installation.blobs.get(file.blob)
        except BlobMissingError:
            yield f"{file.blob} is missing"
        else:
            if sha256(content).hexdigest() != file.sha256:
                yield f"{file.blob} is not what its row says"


class Journal:
    """What counting jobs have done, step by step, whatever became of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def steps(self, job_id: str) -> list[tuple[int, int, float, float]]:
        """The steps: token, number, beginning and end in seconds of the monotonic clock."""
        path = self._folder / job_id
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(a), int(b), float(c), float(d)) for a, b, c, d in map(str.split, lines)]

    def lost_work(self, job_id: str) -> list[float]:
        """For each attempt that was lost, the seconds of work that were done again.

        The step that was under way when a checkpoint fell due is not counted: nothing can
        be saved in the middle of a step.
        """
        attempts: dict[int, list[tuple[int, float]]] = {}
        for token, step, began, ended in self.steps(job_id):
            attempts.setdefault(token, []).append((step, ended - began))
        return [
            sum([seconds for step, seconds in lost if step >= following[0][0]][:-1])
            for lost, following in pairwise(attempts.values())
        ]


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """Where counting jobs of this test note what they do."""
    folder = tmp_path / "journal"
    folder.mkdir()
    monkeypatch.setenv("COUNTING_JOURNAL", str(folder))
    return Journal(folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    _table(terminalreporter.config).show(terminalreporter)
