"""A run that keeps what it is told, for trainings of both phases; a PostgreSQL server."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.run import Signal

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server of our own, on a unix socket."""
    if not PROGRAMS:
        pytest.skip("no PostgreSQL server in /usr/lib/postgresql (Debian: apt install postgresql)")
    programs = PROGRAMS[-1]
    folder = Path("/tmp") / f"mdf-postgresql-{os.getpid()}"  # a socket's path must be short
    folder.mkdir(mode=0o700)
    # The server refuses to run as root.
    as_user = []
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
        as_user = ["setpriv", "--reuid=nobody", "--clear-groups", "--"]

    def run(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, capture_output=True, cwd=folder)

    data = str(folder / "data")
    run(str(programs / "initdb"), "-D", data, "-U", "mdf", "--auth=trust", "--no-sync")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    log = str(folder / "log")
    run(str(programs / "pg_ctl"), "-D", data, "-o", options, "-l", log, "-w", "start")
    yield f"postgresql+psycopg://mdf@/postgres?host={folder}"
    run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
    shutil.rmtree(folder)


class RecordingRun:
    """Keeps everything in memory; `signal` says what to do at the nth poll of this attempt."""

    def __init__(
        self,
        signal: Callable[[int], Signal] = lambda _: Signal.CONTINUE,
        state: bytes | None = None,
    ) -> None:
        self.state = state
        self.signal = signal
        self.polls = self.signs = 0
        self.saved: list[bytes] = []
        self.places: list[tuple[int, int, int, int]] = []
        self.points: list[tuple[int, int, dict[str, float]]] = []
        self.samples: dict[tuple[int, int, str], bytes] = {}
        self.lines: list[str] = []

    def load_checkpoint(self) -> bytes | None:
        return self.state

    def save_checkpoint(self, state: bytes) -> None:
        self.state = state
        self.saved.append(state)

    def poll(self) -> Signal:
        self.polls += 1
        return self.signal(self.polls)

    def alive(self) -> None:
        self.signs += 1

    def progress(self, *, scale: int, scales: int, step: int, steps: int) -> None:
        self.places.append((scale, scales, step, steps))

    def metrics(self, *, scale: int, step: int, values: dict[str, float]) -> None:
        self.points.append((scale, step, values))

    def sample(self, *, scale: int, step: int, kind: str, png: bytes) -> None:
        self.samples[scale, step, kind] = png

    def log(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def recording() -> type[RecordingRun]:
    return RecordingRun
