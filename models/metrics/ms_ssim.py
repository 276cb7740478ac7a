"""MS-SSIM (Wang, Simoncelli and Bovik 2003): SSIM on a pyramid of halved images.

    MS-SSIM = (l₅·cs₅)^β₅ · Π csⱼ^βⱼ,  j = 1 … 4, level 1 the image at full size

with the means of these maps over all positions, each channel by itself. A level is the average of
2×2 pixels of the one before; an odd last row or column is left out.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from models.metrics.ssim import SIGMA, WINDOW, similarity_maps
from models.windows import gaussian_window

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # β, from the paper's experiment

# Under a power of less than one a slope is steep near zero; below this it is taken as flat.
_FLOOR = 1e-6


def smallest_side(levels: int = len(WEIGHTS)) -> int:
    """Side of the smallest image whose last level holds a window, px."""
    return WINDOW << levels - 1


def ms_ssim(x: Tensor, y: Tensor, *, weights: Sequence[float] = WEIGHTS) -> Tensor:
    """MS-SSIM of each image, (N,): the mean over the channels.

    A level whose structures oppose each other (a mean cs below zero) makes the product zero.

    Args:
        x, y: (N, C, H, W) in [0, 1], H and W ≥ `smallest_side(len(weights))`.
        weights: β of each level, full size first.
    """
    window = gaussian_window(SIGMA, WINDOW)
    product = x.new_ones(())
    for level, weight in enumerate(weights):
        if level > 0:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        maps = similarity_maps(x, y, window)
        similarity = maps.contrast_structure
        if level == len(weights) - 1:
            similarity = maps.luminance * similarity
        product = product * power(similarity.mean(dim=(2, 3)), weight)
    return product.mean(dim=1)


def power(base: Tensor, exponent: float) -> Tensor:
    """base^exponent, and 0 for bases that are not positive; its gradient is finite everywhere."""
    return torch.where(base > 0, base.clamp(min=_FLOOR) ** exponent, 0)
