"""Which way a loss would push each pixel: its gradient, and pictures of it.

These functions import torch: they are for `services.workbench`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.losses.pictures import diverging, encode, sequential

if TYPE_CHECKING:
    from torch import Tensor

    from mdf.loss import MDFLoss

# Of the pixels, the share that may exceed a picture's full colour: a few would hide all others.
_BEYOND = 0.005


@dataclass(frozen=True)
class GradientPicture:
    """A picture in which full colour is `peak`: change of the loss per unit of one pixel."""

    peak: float
    png: bytes


def gradient(loss: "MDFLoss", restored: "Tensor", target: "Tensor") -> "Tensor":
    """The derivative of the loss by every pixel and channel of `restored`, (1, 3, H, W)."""
    import torch

    moved = restored.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(moved, target), moved)
    return slope


def direction(slope: "Tensor") -> GradientPicture:
    """Which way descent changes a pixel's brightness: red raises it, blue lowers it.

    The brightness of a pixel changes its three channels alike: its derivative is their sum.
    """
    push = -slope[0].sum(0)
    peak = _peak(push.abs())
    return GradientPicture(peak, encode(diverging((push / peak).numpy())))


def magnitude(slope: "Tensor") -> GradientPicture:
    """How strongly descent changes a pixel, whichever way: the norm over its channels."""
    strength = slope[0].norm(dim=0)
    peak = _peak(strength)
    return GradientPicture(peak, encode(sequential((strength / peak).numpy())))


def _peak(strength: "Tensor") -> float:
    peak = float(strength.flatten().quantile(1 - _BEYOND))
    return peak or float(strength.max()) or 1.0
