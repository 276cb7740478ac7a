"""Blur by a kernel that sums to one: Gaussian and linear motion. Borders are replicated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from services.distortions.distortion import Distortion
from services.distortions.parameter import Bounds, draw_real

if TYPE_CHECKING:
    from torch import Generator, Tensor


class GaussianBlur(Distortion):
    """Isotropic Gaussian blur, cut off at three standard deviations of the range's high end."""

    kind: Literal["gaussian_blur"] = "gaussian_blur"
    sigma: Annotated[
        tuple[float, float], Bounds(0, 50), Field(description="standard deviation, pixels")
    ]

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Convolve with the kernel of one drawn σ, rows then columns."""
        kernel = gaussian_kernel(
            draw_real(self.sigma, generator), radius=math.ceil(3 * self.sigma[1])
        ).to(image.dtype)
        return _convolve(_convolve(image, kernel[None, :]), kernel[:, None])


class MotionBlur(Distortion):
    """Uniform motion of the camera along a straight line."""

    kind: Literal["motion_blur"] = "motion_blur"
    length: Annotated[
        tuple[float, float], Bounds(1, 101), Field(description="length of the path, pixels")
    ]
    angle: Annotated[
        tuple[float, float],
        Bounds(0, 360),
        Field(description="direction, degrees counter-clockwise from the x axis"),
    ] = (0.0, 180.0)

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Convolve with the kernel of one drawn path."""
        length = draw_real(self.length, generator)
        angle = draw_real(self.angle, generator)
        radius = math.ceil((self.length[1] - 1) / 2)
        return _convolve(image, motion_kernel(length, angle, radius=radius).to(image.dtype))


def gaussian_kernel(sigma: Tensor, *, radius: int) -> Tensor:
    """Samples of a Gaussian at −radius … radius, (2·radius + 1,), that sum to one."""
    import torch

    offsets = torch.arange(-radius, radius + 1, device=sigma.device)
    # A σ of 0 is no blur; the floor keeps the quotient finite and the kernel a single 1.
    weights = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3)) ** 2)
    return weights / weights.sum()


def motion_kernel(length: Tensor, angle: Tensor, *, radius: int) -> Tensor:
    """A line of `length` px at `angle` degrees, (2·radius + 1)², that sums to one.

    A pixel's weight falls with its distance across the line and beyond the line's ends, from 1
    to 0 over one pixel: a horizontal line of 9 px has nine equal weights.
    """
    import torch

    offsets = torch.arange(-radius, radius + 1, device=length.device)
    cos, sin = torch.cos(torch.deg2rad(angle)), torch.sin(torch.deg2rad(angle))
    x, y = offsets[None, :], -offsets[:, None]  # y points up
    along, across = (x * cos + y * sin).abs(), (y * cos - x * sin).abs()
    weights = ((length + 1) / 2 - along).clamp(0, 1) * (1 - across).clamp(min=0)
    return weights / weights.sum()


def _convolve(image: Tensor, kernel: Tensor) -> Tensor:
    import torch.nn.functional as F

    channels = image.shape[1]
    rows, columns = kernel.shape
    padded = F.pad(image, (columns // 2,) * 2 + (rows // 2,) * 2, mode="replicate")
    return F.conv2d(padded, kernel.expand(channels, 1, rows, columns), groups=channels)
