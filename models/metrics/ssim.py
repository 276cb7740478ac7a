"""SSIM (Wang, Bovik, Sheikh and Simoncelli 2004).

    SSIM = l · cs,  l = (2 μx μy + C₁) / (μx² + μy² + C₁),  cs = (2 σxy + C₂) / (σx² + σy² + C₂)

Means, variances and covariance are those under a Gaussian window (population statistics). They
are taken where the window lies within the image, each channel by itself; nothing is padded or
scaled down. With σ 1.5 and a window of 11 px the mean is scikit-image's `structural_similarity`
with `gaussian_weights` and without `use_sample_covariance`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from models.windows import gaussian_window, local_mean

C1 = 0.01**2
C2 = 0.03**2
SIGMA = 1.5  # px
WINDOW = 11  # px


class SimilarityMaps(NamedTuple):
    """The two factors of SSIM at every position, (N, C, h, w) each."""

    luminance: Tensor
    contrast_structure: Tensor


def window_side(sigma: float) -> int:
    """Side of the customary window, cut at 3.5 σ, px."""
    return 2 * int(3.5 * sigma + 0.5) + 1


def similarity_maps(
    x: Tensor, y: Tensor, window: Tensor, *, c1: float = C1, c2: float = C2
) -> SimilarityMaps:
    """l and cs of `x` and `y`, (N, C, H, W), under `window`, (n,); h = H − n + 1, w = W − n + 1."""
    # Variances do not depend on the level: taken about a near one they lose fewer digits.
    level = (x.detach().mean(dim=(2, 3), keepdim=True) + y.detach().mean((2, 3), keepdim=True)) / 2
    x, y = x - level, y - level
    moments = local_mean(torch.cat([x, y, x * x, y * y, x * y], dim=1), window)
    mean_x, mean_y, square_x, square_y, product = moments.chunk(5, dim=1)
    variances = (square_x - mean_x * mean_x) + (square_y - mean_y * mean_y)
    covariance = product - mean_x * mean_y
    mean_x, mean_y = mean_x + level, mean_y + level
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    return SimilarityMaps(luminance, (2 * covariance + c2) / (variances + c2))


def ssim(x: Tensor, y: Tensor, *, sigma: float = SIGMA, window: int = WINDOW) -> Tensor:
    """SSIM of each image, (N,).

    Args:
        x, y: (N, C, H, W) in [0, 1], H and W ≥ `window`.
        sigma: of the Gaussian, px.
        window: side at which it is cut, px, odd.
    """
    maps = similarity_maps(x, y, gaussian_window(sigma, window))
    return (maps.luminance * maps.contrast_structure).mean(dim=(1, 2, 3))
