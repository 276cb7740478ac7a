"""Metrics of single pixels: L1, L2 and PSNR, of each image."""

import math

import torch
from torch import Tensor

PEAK_PSNR = 100.0  # dB


def l1(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference of each image, (N,); x, y (N, C, H, W)."""
    return (x - y).abs().mean(dim=(1, 2, 3))


def l2(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared difference of each image, (N,); x, y (N, C, H, W)."""
    return (x - y).square().mean(dim=(1, 2, 3))


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """−10 log₁₀ of the mean squared difference, dB, of each image, (N,); x, y in [0, 1].

    It ends at 100 dB, where equal images are, instead of at infinity: an average over images
    stays a number.
    """
    floor = 10 ** (-PEAK_PSNR / 10)
    return -10 / math.log(10) * torch.log(l2(x, y).clamp(min=floor))
