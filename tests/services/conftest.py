"""A run that keeps what it is told, for trainings of both phases; a PostgreSQL server."""

from collections.abc import Callable, Iterator

import pytest

from services.run import Signal
from tests.postgresql import Server, running


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """A PostgreSQL server of our own."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql(postgresql_server: Server) -> str:
    """Its URL, on a unix socket."""
    return postgresql_server.url()


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
