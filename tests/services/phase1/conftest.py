"""A seed, a recipe small enough for many runs, and a run that keeps what it is told."""

from collections.abc import Callable
from hashlib import sha256

import numpy as np
import pytest
import torch
from skimage import data

from services.phase1.recipe import Recipe
from services.phase1.training import Seed
from services.run import Signal


class RecordingRun:
    """Keeps everything in memory; `signal` says what to do at the nth poll of this attempt."""

    def __init__(
        self,
        signal: Callable[[int], Signal] = lambda _: Signal.CONTINUE,
        state: bytes | None = None,
    ) -> None:
        self.state = state
        self.signal = signal
        self.polls = 0
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

    def progress(self, *, scale: int, scales: int, step: int, steps: int) -> None:
        self.places.append((scale, scales, step, steps))

    def metrics(self, *, scale: int, step: int, values: dict[str, float]) -> None:
        self.points.append((scale, step, values))

    def sample(self, *, scale: int, step: int, kind: str, png: bytes) -> None:
        self.samples[scale, step, kind] = png

    def log(self, message: str) -> None:
        self.lines.append(message)


def seed_of(pixels: np.ndarray) -> Seed:
    pixels = np.ascontiguousarray(pixels)
    return Seed(sha256(pixels.tobytes()).hexdigest(), pixels)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def recording() -> type[RecordingRun]:
    return RecordingRun


@pytest.fixture
def seed() -> Seed:
    return seed_of(data.astronaut()[0:64, 180:252])


@pytest.fixture
def other_seed() -> Seed:
    return seed_of(data.coffee()[100:150, 200:240])


@pytest.fixture
def tiny() -> Recipe:
    """Three scales of 17 to 36 px on the longer side, wide enough for a warm and a cold start."""
    return Recipe(
        scales=3,
        factor="auto",
        min_size=15,
        max_size=36,
        width=4,
        width_doubles_every=2,
        iterations=5,
        lr_decay_at=3,
        random_seed=11,
    )
