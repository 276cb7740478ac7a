"""GMSD (Xue, Zhang, Mou and Bovik 2014): how unevenly the gradients of two images agree.

The luma is averaged over 2×2 pixels and every second one kept; gradients are Prewitt's. Beyond the
border stand zeros, for odd sizes also in the last averages, as in the authors' program. The score
is the standard deviation (population) of the gradients' similarity over the pixels: 0 for equal
images.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.metrics.gradients import PREWITT, gradient_magnitude
from models.metrics.protocol import luma

C = 170 / 255**2  # the paper's 170 is for values from 0 to 255

# Its square stands inside the square root, so that the slope at 0 is finite.
_FLOOR = 1e-6


def gmsd(x: Tensor, y: Tensor) -> Tensor:
    """GMSD of each image, (N,); x, y (N, 1 or 3, H, W) in [0, 1], H and W ≥ 2."""
    a, b = (gradient_magnitude(_halved(luma(image)), PREWITT) for image in (x, y))
    similarity = (2 * a * b + C) / (a.square() + b.square() + C)
    variance = similarity.var(dim=(1, 2, 3), correction=0)
    return torch.sqrt(variance + _FLOOR**2) - _FLOOR


def _halved(image: Tensor) -> Tensor:
    height, width = image.shape[2:]
    return F.avg_pool2d(F.pad(image, (0, width % 2, 0, height % 2)), 2)
