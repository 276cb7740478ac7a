"""The pyramid yᵏ of a seed image (Mustafa et al. 2022, section 3.1)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.images.resampling import resize
from services.phase1.recipe import Recipe, check_seed_size, scale_sizes


def build_pyramid(pixels: NDArray[np.uint8], recipe: Recipe) -> list[Tensor]:
    """yᵏ for every scale, coarsest first: each the seed itself, Lanczos-downsampled once.

    Args:
        pixels: the seed, (H, W, 3).

    Returns: tensors (1, 3, h, w) in [−1, 1].
    Raises: BadInputError if the seed is too small for the recipe.
    """
    height, width = pixels.shape[:2]
    check_seed_size(recipe, width, height)
    seed = pixels.astype(np.float32) / np.float32(255)
    return [_as_tensor(_shrink(seed, size)) for size in scale_sizes(recipe, width, height)]


def _shrink(seed: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if size == (seed.shape[1], seed.shape[0]):
        return seed
    return resize(seed, size, "lanczos").clip(0, 1)  # Lanczos overshoots at edges


def _as_tensor(image: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].contiguous() * 2 - 1
