"""The generator of one scale (Mustafa et al. 2022, section 3.1; SinGAN, Shaham et al. 2019)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mdf.discriminator import Block


class Generator(nn.Module):
    """Restores an image: convolutions over a zero-padded input, tanh, plus the input itself.

    The blocks are those of the discriminator, unpadded; the zeros stand around the input once,
    as many as the convolutions take away.

    Args:
        width: channels of the head and of every body block.
        layers: convolutions in all: one head, layers − 2 body blocks, one tail.
        channels: of the image.

    Shape: (N, channels, H, W) in [−1, 1] nominally → the same shape.
    """

    def __init__(self, *, width: int, layers: int = 5, channels: int = 3) -> None:
        super().__init__()
        self.margin = layers
        self.head = Block(channels, width, padding="valid")
        self.body = nn.Sequential(
            *(Block(width, width, padding="valid") for _ in range(layers - 2))
        )
        self.tail = nn.Conv2d(width, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """The restored image."""
        padded = F.pad(x, (self.margin,) * 4)  # (N, C, H + 2·layers, W + 2·layers)
        return torch.tanh(self.tail(self.body(self.head(padded)))) + x
