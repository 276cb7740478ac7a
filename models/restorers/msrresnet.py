"""MSRResNet: SRResNet without BatchNorm and with a bilinear skip, as ESRGAN's authors train it.

It is the network of PSNR that Wang et al. 2018 (section 4) compare with. Parameters have the names
of their release (XPixelGroup/BasicSR), which publishes weights for it.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.restorers import initialisation
from models.restorers.layers import convolution, enlarged
from models.restorers.restorer import Restorer


class ResidualBlock(nn.Module):
    """x + (convolution → ReLU → convolution)(x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = convolution(width, width)
        self.conv2 = convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, width, H, W) → the same."""
        residual: Tensor = self.conv2(F.relu(self.conv1(x), inplace=True))
        return x + residual


class MSRResNet(Restorer):
    """The image enlarged bilinearly, plus what residual blocks and sub-pixel convolutions find.

    Args:
        scale: 2, 3 or 4.
        channels: of the image, 1 or 3.
        blocks: residual blocks.
        width: channels of the features.
    """

    kind: ClassVar[str] = "msrresnet"

    def __init__(self, *, scale: int, channels: int = 3, blocks: int = 16, width: int = 64) -> None:
        super().__init__(
            {"scale": scale, "channels": channels, "blocks": blocks, "width": width},
            channels=channels,
            scale=scale,
            receptive_radius=2 * blocks + 3,
            tail_radius=2,
            features_bytes=4 * 4 * width,
            reconstruct_bytes=4 * width * (3 * scale**2 + 4),
        )
        factors = {2: (2,), 3: (3,), 4: (2, 2)}[scale]
        self.conv_first = convolution(channels, width)
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.upconv1 = convolution(width, width * factors[0] ** 2)
        if scale == 4:
            self.upconv2 = convolution(width, width * factors[1] ** 2)
        self.conv_hr = convolution(width, width)
        self.conv_last = convolution(width, channels)
        self.factors = factors

    def draw(self, generator: torch.Generator) -> None:
        """As the release: He et al. 2015, a tenth as large."""
        initialisation.he_normal(self, generator, gain=0.1)

    def features(self, image: Tensor) -> Tensor:
        """(N, channels, H, W) → (N, width + channels, H, W): features, and the image itself."""
        x: Tensor = self.body(_activated(self.conv_first(image)))
        return torch.cat((x, image), dim=1)

    def reconstruct(self, features: Tensor) -> Tensor:
        """(N, width + channels, H, W) → (N, channels, H·scale, W·scale)."""
        x, image = features[:, : -self.channels], features[:, -self.channels :]
        x = _activated(F.pixel_shuffle(self.upconv1(x), self.factors[0]))
        if self.scale == 4:
            x = _activated(F.pixel_shuffle(self.upconv2(x), self.factors[1]))
        residual: Tensor = self.conv_last(_activated(self.conv_hr(x)))
        return enlarged(image, self.scale) + residual


def _activated(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1, inplace=True)
