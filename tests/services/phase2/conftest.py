"""Small photographs, and plans small enough for many runs."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data

from services.datasets.picture import Picture
from services.phase2.recipe import RestorerPlan


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def picture() -> Callable[..., Picture]:
    """Makes a picture of pixels; reading it is counted in `reads`."""

    def make(pixels: np.ndarray, name: str = "picture.png") -> Picture:
        pixels = np.ascontiguousarray(pixels)
        height, width = pixels.shape[:2]
        digest = sha256(pixels.tobytes()).hexdigest()
        return Picture(name, digest, width, height, lambda: pixels)

    return make


@pytest.fixture
def pictures(picture: Callable[..., Picture]) -> list[Picture]:
    """Five photographs of 72 × 56 px."""
    areas = {
        "astronaut": data.astronaut()[0:56, 180:252],
        "coffee": data.coffee()[100:156, 200:272],
        "chelsea": data.chelsea()[60:116, 120:192],
        "rocket": data.rocket()[200:256, 300:372],
        "eye": data.retina()[600:656, 600:672],
    }
    return [picture(pixels, name) for name, pixels in areas.items()]


@pytest.fixture
def plan() -> Callable[..., RestorerPlan]:
    """Makes a plan of a small denoiser; parts are replaced, the recipe's values merged."""

    def make(recipe: dict[str, Any] | None = None, **parts: Any) -> RestorerPlan:
        tiny = {
            "patch": 16,
            "batch": 4,
            "iterations": 8,
            "validate_every": 3,
            "validation_crop": 40,
            "sample_images": 1,
            "random_seed": 7,
            "optimiser": {"kind": "adam", "learning_rate": 1e-3},
        }
        denoiser = {
            "task": {"kind": "denoising", "sigma": [0, 55]},
            "network": {"kind": "dncnn", "depth": 3, "width": 4},
            "loss": {"kind": "l2"},
        }
        return RestorerPlan.model_validate(
            {**denoiser, **parts, "recipe": {**tiny, **(recipe or {})}}
        )

    return make
