"""Lengths of image gradients, by the 3×3 operators of Prewitt and Scharr."""

import torch
from torch import Tensor
from torch.nn import functional as F

PREWITT = (1 / 3, 1 / 3, 1 / 3)
SCHARR = (3 / 16, 10 / 16, 3 / 16)

# Inside the square root, so that the slope at 0 is finite.
_SQUARE_FLOOR = 1e-12


def gradient_magnitude(image: Tensor, across: tuple[float, float, float]) -> Tensor:
    """√(gx² + gy²), (N, C, H, W); zeros stand beyond the border.

    By differences, not by a convolution, which a GPU may do with ten bits of mantissa.

    Args:
        image: (N, C, H, W).
        across: weights of the three differences on a side of the pixel, `PREWITT` or `SCHARR`.
    """
    padded = F.pad(image, (1, 1, 1, 1))
    horizontal = padded[..., 2:] - padded[..., :-2]
    vertical = padded[..., 2:, :] - padded[..., :-2, :]
    height, width = image.shape[2:]
    gx, gy = torch.zeros_like(image), torch.zeros_like(image)
    for offset, weight in enumerate(across):
        gx = gx + weight * horizontal[..., offset : offset + height, :]
        gy = gy + weight * vertical[..., offset : offset + width]
    return torch.sqrt(gx.square() + gy.square() + _SQUARE_FLOOR)
