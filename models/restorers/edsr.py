"""EDSR: enhanced deep residual network for super-resolution (Lim et al. 2017, figures 2 and 3).

Parameters have the names of the authors' release (sanghyun-son/EDSR-PyTorch).
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.restorers import initialisation
from models.restorers.layers import MeanShift, convolution
from models.restorers.restorer import Restorer

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # mean colour of the training set DIV2K, RGB in [0, 1]


class ResidualBlock(nn.Module):
    """x + scale · (convolution → ReLU → convolution)(x), without BatchNorm (section 3.1)."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.body = nn.Sequential(
            convolution(width, width), nn.ReLU(inplace=True), convolution(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, width, H, W) → the same."""
        return torch.add(x, self.body(x), alpha=self.scale)


class EDSR(Restorer):
    """Residual blocks at the size of the input, then sub-pixel convolutions.

    Args:
        scale: 2, 3 or 4.
        blocks: residual blocks; 16 in the baseline, 32 in the full network.
        width: channels; 64 in the baseline, 256 in the full network.
        residual_scale: factor of each residual; 1 in the baseline, 0.1 in the full network.
        value_range: of white inside; the released weights expect 255.
    """

    kind: ClassVar[str] = "edsr"

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 16,
        width: int = 64,
        residual_scale: float = 1.0,
        value_range: int = 255,
    ) -> None:
        super().__init__(
            {
                "scale": scale,
                "blocks": blocks,
                "width": width,
                "residual_scale": residual_scale,
                "value_range": value_range,
            },
            channels=3,
            scale=scale,
            receptive_radius=2 * blocks + 4,
            tail_radius=2,
            features_bytes=4 * 5 * width,
            reconstruct_bytes=4 * width * (2 * scale**2 + 4),
        )
        self.value_range = value_range
        mean = tuple(value_range * colour for colour in DIV2K_MEAN)
        self.sub_mean = MeanShift(mean, sign=-1)
        self.add_mean = MeanShift(mean, sign=+1)
        self.head = nn.Sequential(convolution(3, width))
        self.body = nn.Sequential(
            *(ResidualBlock(width, residual_scale) for _ in range(blocks)),
            convolution(width, width),
        )
        self.tail = nn.Sequential(upsampler(width, scale), convolution(width, 3))

    def draw(self, generator: torch.Generator) -> None:
        """As the release: torch's own way."""
        initialisation.uniform(self, generator)

    def features(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, width, H, W)."""
        x: Tensor = self.head(self.sub_mean(image * self.value_range))
        residual: Tensor = self.body(x)
        return x + residual

    def reconstruct(self, features: Tensor) -> Tensor:
        """(N, width, H, W) → (N, 3, H·scale, W·scale)."""
        restored: Tensor = self.add_mean(self.tail(features))
        return restored / self.value_range


def upsampler(width: int, scale: int) -> nn.Sequential:
    """Sub-pixel convolutions (Shi et al. 2016): twice by 2 for 4, once for 2 and 3."""
    factors = {2: (2,), 3: (3,), 4: (2, 2)}[scale]
    layers: list[nn.Module] = []
    for factor in factors:
        layers += [convolution(width, width * factor**2), nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)
