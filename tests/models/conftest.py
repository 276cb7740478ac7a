"""Pairs of images that the tests of losses and metrics compare."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

Pair = tuple[Tensor, Tensor]


@pytest.fixture(scope="session")
def noisy_astronaut() -> Pair:
    """A photograph with Gaussian noise of std 0.1, in 8 bits, and without; (1, 3, 512, 512)."""
    original = data.astronaut().astype(np.float64) / 255
    noise = np.random.default_rng(0).normal(0, 0.1, original.shape)
    noisy = np.round((original + noise).clip(0, 1) * 255) / 255
    restored, target = (torch.from_numpy(each).permute(2, 0, 1)[None] for each in (noisy, original))
    return restored.contiguous(), target.contiguous()


@pytest.fixture(scope="session")
def random_pair() -> Callable[..., Pair]:
    """`random_pair(N, C, H, W, dtype=…)`: random images with noise, and without, in [0, 1]."""
    return _random_pair


def _random_pair(*shape: int, dtype: torch.dtype = torch.float64, noise: float = 0.2) -> Pair:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(shape, generator=generator, dtype=dtype)
    drawn = torch.randn(shape, generator=generator, dtype=dtype)
    return (target + noise * drawn).clamp(0, 1), target


@pytest.fixture(
    params=[
        "equal and flat",
        "equal and black",
        "flat at two levels",
        "equal",
        "equal and half flat",
        "flat against texture",
        "texture against flat",
        "opposite",
    ]
)
def degenerate_pair(request: pytest.FixtureRequest) -> Pair:
    """Images on which quotients and roots degenerate, (1, 3, 176, 176), float32."""
    textured = _random_pair(1, 3, 176, 176, dtype=torch.float32)[1]
    grey, light = torch.full_like(textured, 0.5), torch.full_like(textured, 0.9)
    half = textured.clone()
    half[..., :24] = 0
    return {
        "equal and flat": (grey, grey),
        "equal and black": (torch.zeros_like(grey), torch.zeros_like(grey)),
        "flat at two levels": (grey, light),
        "equal": (textured, textured),
        "equal and half flat": (half, half),
        "flat against texture": (grey, textured),
        "texture against flat": (textured, grey),
        "opposite": (1 - textured, textured),
    }[request.param]
