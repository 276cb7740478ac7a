"""Gaussian windows, and local means under them."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# Beyond this many σ a Gaussian is below 10⁻¹⁷ of its peak: nothing, also in double precision.
NEGLIGIBLE = 9


def gaussian_window(sigma: float, side: int) -> Tensor:
    """A Gaussian sampled at whole pixels, (side,), that sums to one; float64, `side` is odd.

    Samples beyond 9 σ are left out: the window may be narrower than `side`.
    """
    radius = min(side // 2, math.ceil(NEGLIGIBLE * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    return weights / weights.sum()


def local_mean(image: Tensor, window: Tensor) -> Tensor:
    """Means under `window`, where it lies within the image: nothing is padded.

    Args:
        image: (N, C, H, W).
        window: (n,), n odd, of the rows and of the columns.

    Returns: (N, C, H − n + 1, W − n + 1).
    """
    channels, side = image.shape[1], len(window)
    window = window.to(image)
    image = F.conv2d(image, window.expand(channels, 1, 1, side), groups=channels)
    return F.conv2d(image, window[:, None].expand(channels, 1, side, 1), groups=channels)


def crop(image: Tensor, border: int) -> Tensor:
    """`image`, (…, H, W), without `border` pixels on each side."""
    height, width = image.shape[-2:]
    return image[..., border : height - border, border : width - border]
