"""RRDBNet: the generator of ESRGAN (Wang et al. 2018, figures 3 and 4).

Parameters have the names of the authors' release (xinntao/ESRGAN). At ×2 and ×1 the image is
first folded into more channels, as in Real-ESRGAN (Wang et al. 2021, section 3.3).
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.restorers import initialisation
from models.restorers.layers import convolution
from models.restorers.restorer import Restorer

RESIDUAL_SCALE = 0.2  # β of figure 4
UPSCALING = 4  # of the features, by two steps of 2


class DenseBlock(nn.Module):
    """Five convolutions, each of all that came before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.conv1 = convolution(width, growth)
        self.conv2 = convolution(width + growth, growth)
        self.conv3 = convolution(width + 2 * growth, growth)
        self.conv4 = convolution(width + 3 * growth, growth)
        self.conv5 = convolution(width + 4 * growth, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, width, H, W) → the same."""
        known = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            known = torch.cat((known, _activated(conv(known))), dim=1)
        return torch.add(x, self.conv5(known), alpha=RESIDUAL_SCALE)


class RRDB(nn.Module):
    """Three dense blocks within a residual: a residual-in-residual dense block."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.RDB1 = DenseBlock(width, growth)
        self.RDB2 = DenseBlock(width, growth)
        self.RDB3 = DenseBlock(width, growth)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, width, H, W) → the same."""
        return torch.add(x, self.RDB3(self.RDB2(self.RDB1(x))), alpha=RESIDUAL_SCALE)


class RRDBNet(Restorer):
    """Residual-in-residual dense blocks, then two nearest-neighbour enlargements by 2.

    Args:
        scale: 4 (ESRGAN), 2 or 1.
        channels: of the image, 1 or 3.
        blocks: residual-in-residual dense blocks.
        width: channels of the features.
        growth: channels that each convolution of a dense block adds.
    """

    kind: ClassVar[str] = "rrdbnet"

    def __init__(
        self, *, scale: int, channels: int = 3, blocks: int = 23, width: int = 64, growth: int = 32
    ) -> None:
        fold = UPSCALING // scale
        super().__init__(
            {
                "scale": scale,
                "channels": channels,
                "blocks": blocks,
                "width": width,
                "growth": growth,
            },
            channels=channels,
            scale=scale,
            multiple=fold,
            receptive_radius=fold * (15 * blocks + 4),
            tail_radius=2,
            features_bytes=4 * (5 * width + 8 * growth) // fold**2,
            reconstruct_bytes=13 * width * scale**2,
        )
        self.conv_first = convolution(channels * fold**2, width)
        self.RRDB_trunk = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)))
        self.trunk_conv = convolution(width, width)
        self.upconv1 = convolution(width, width)
        self.upconv2 = convolution(width, width)
        self.HRconv = convolution(width, width)
        self.conv_last = convolution(width, channels)

    def draw(self, generator: torch.Generator) -> None:
        """Blocks as He et al. 2015, a tenth as large (section 3.1); torch's own way elsewhere."""
        initialisation.uniform(self, generator)
        initialisation.he_normal(self.RRDB_trunk, generator, gain=0.1)

    def features(self, image: Tensor) -> Tensor:
        """(N, channels, H, W) → (N, width, H / multiple, W / multiple)."""
        x: Tensor = self.conv_first(F.pixel_unshuffle(image, self.multiple))
        residual: Tensor = self.trunk_conv(self.RRDB_trunk(x))
        return x + residual

    def reconstruct(self, features: Tensor) -> Tensor:
        """(N, width, h, w) → (N, channels, 4·h, 4·w)."""
        x = features
        for conv in (self.upconv1, self.upconv2):
            x = _activated(conv(F.interpolate(x, scale_factor=2, mode="nearest")))
        restored: Tensor = self.conv_last(_activated(self.HRconv(x)))
        return restored


def _activated(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)
