"""Resizing in floating point with Pillow's kernels, which are anti-aliased when shrinking."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Kernel = Literal["nearest", "bilinear", "bicubic", "lanczos", "area"]

KERNELS: tuple[Kernel, ...] = get_args(Kernel)
_FILTERS: dict[Kernel, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}


def resize(
    image: NDArray[np.float32], size: tuple[int, int], kernel: Kernel
) -> NDArray[np.float32]:
    """Resize `image` (H, W, C) to `size` (width, height); nothing is rounded or clipped."""
    channels = [
        Image.fromarray(np.ascontiguousarray(image[..., channel])).resize(size, _FILTERS[kernel])
        for channel in range(image.shape[2])
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)
