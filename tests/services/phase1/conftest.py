"""A seed, and a recipe small enough for many runs."""

from hashlib import sha256

import numpy as np
import pytest
import torch
from skimage import data

from services.phase1.recipe import Recipe
from services.phase1.training import Seed


def seed_of(pixels: np.ndarray) -> Seed:
    pixels = np.ascontiguousarray(pixels)
    return Seed(sha256(pixels.tobytes()).hexdigest(), pixels)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


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
