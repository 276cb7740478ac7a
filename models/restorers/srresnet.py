"""SRResNet: the generator of SRGAN (Ledig et al. 2017, figure 4).

The authors published no weights; parameters have the names of Lornatang/SRGAN-PyTorch, which did.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.restorers import initialisation
from models.restorers.layers import convolution
from models.restorers.restorer import Restorer


class ResidualBlock(nn.Module):
    """x + (convolution → BatchNorm → PReLU → convolution → BatchNorm)(x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rcb = nn.Sequential(
            convolution(width, width, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(),
            convolution(width, width, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, width, H, W) → the same."""
        residual: Tensor = self.rcb(x)
        return x + residual


class UpsampleBlock(nn.Module):
    """Convolution → pixel shuffle → PReLU."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.upsample_block = nn.Sequential(
            convolution(width, width * factor**2), nn.PixelShuffle(factor), nn.PReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, width, H, W) → (N, width, H·factor, W·factor)."""
        enlarged: Tensor = self.upsample_block(x)
        return enlarged


class SRResNet(Restorer):
    """Residual blocks between a skip, then sub-pixel convolutions; 9×9 at both ends.

    Args:
        scale: 2, 3 or 4 (the paper's).
        blocks: residual blocks.
        width: channels.
    """

    kind: ClassVar[str] = "srresnet"

    def __init__(self, *, scale: int, blocks: int = 16, width: int = 64) -> None:
        super().__init__(
            {"scale": scale, "blocks": blocks, "width": width},
            channels=3,
            scale=scale,
            receptive_radius=2 * blocks + 8,
            tail_radius=3,
            features_bytes=4 * 5 * width,
            reconstruct_bytes=4 * width * (2 * scale**2 + 4),
        )
        factors = {2: (2,), 3: (3,), 4: (2, 2)}[scale]
        self.conv1 = nn.Sequential(convolution(3, width, 9), nn.PReLU())
        self.trunk = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.conv2 = nn.Sequential(convolution(width, width, bias=False), nn.BatchNorm2d(width))
        self.upsampling = nn.Sequential(*(UpsampleBlock(width, factor) for factor in factors))
        self.conv3 = convolution(width, 3, 9)

    def draw(self, generator: torch.Generator) -> None:
        """The paper says nothing: torch's own way."""
        initialisation.uniform(self, generator)
        initialisation.neutral(self)

    def features(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, width, H, W)."""
        x: Tensor = self.conv1(image)
        residual: Tensor = self.conv2(self.trunk(x))
        return x + residual

    def reconstruct(self, features: Tensor) -> Tensor:
        """(N, width, H, W) → (N, 3, H·scale, W·scale)."""
        restored: Tensor = self.conv3(self.upsampling(features))
        return restored
