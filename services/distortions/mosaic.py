"""A colour filter array: each pixel measures one colour, the others are interpolated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from services.distortions.distortion import Distortion

if TYPE_CHECKING:
    from torch import Generator, Tensor


class BayerMosaic(Distortion):
    """Bayer mosaic and bilinear demosaicking: measured pixels stay as they are."""

    kind: Literal["bayer_mosaic"] = "bayer_mosaic"
    pattern: Annotated[
        Literal["RGGB", "BGGR", "GRBG", "GBRG"],
        Field(description="colours of the upper left 2×2 pixels, row by row"),
    ] = "RGGB"

    def apply(self, image: Tensor, generator: Generator) -> Tensor:  # noqa: ARG002 - same for all
        """Keep one colour of each pixel and fill in the other two; nothing is drawn."""
        import torch
        import torch.nn.functional as F

        measured = self.measured(*image.shape[-2:]).to(image.device)
        weights = measured.to(image.dtype)
        # Bilinear weights; dividing by those of the measured neighbours is right at borders too.
        kernel = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=image.dtype)
        green = torch.tensor([[0, 1, 0], [1, 4, 1], [0, 1, 0]], dtype=image.dtype)
        kernels = torch.stack([kernel, green, kernel])[:, None].to(image.device)
        total = F.conv2d(image * weights, kernels, padding=1, groups=3)
        share = F.conv2d(weights[None], kernels, padding=1, groups=3)
        return torch.where(measured, image, total / share)

    def measured(self, height: int, width: int) -> Tensor:
        """Which pixels measure R, G and B: booleans, (3, H, W)."""
        import torch

        mask = torch.zeros(3, height, width, dtype=torch.bool)
        for position, colour in enumerate(self.pattern):
            mask["RGB".index(colour), position // 2 :: 2, position % 2 :: 2] = True
        return mask
