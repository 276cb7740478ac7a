"""The discriminator of ESRGAN (Wang et al. 2018), in the manner of VGG (Simonyan et al. 2015).

Parameters have the names of the authors' release. It judges images of one size; its output is a
logit, which the relativistic objective compares between real and restored images.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.restorers import initialisation
from models.restorers.layers import convolution

LEVELS = 5


class VGGDiscriminator(nn.Module):
    """Ten convolutions that halve the image five times, then two linear layers.

    Args:
        size: side of the images, px; a multiple of 32 (128 in the release).
        channels: of the images.
        width: channels of the first level; doubled three times.

    Shape: (N, channels, size, size) in [0, 1] → (N, 1), any real number.
    """

    def __init__(self, *, size: int = 128, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        if size < 32 or size % 32:
            raise ValueError(f"size is {size} px; it must be a multiple of 32: the image is halved")
        inputs = channels
        for level in range(LEVELS):
            outputs = width * min(2**level, 8)
            first = level == 0  # without BatchNorm
            self.add_module(f"conv{level}_0", convolution(inputs, outputs, bias=first))
            if not first:
                self.add_module(f"bn{level}_0", nn.BatchNorm2d(outputs))
            halving = nn.Conv2d(outputs, outputs, 4, stride=2, padding=1, bias=False)
            self.add_module(f"conv{level}_1", halving)
            self.add_module(f"bn{level}_1", nn.BatchNorm2d(outputs))
            inputs = outputs
        self.linear1 = nn.Linear(inputs * (size // 2**LEVELS) ** 2, 100)
        self.linear2 = nn.Linear(100, 1)

    def draw(self, generator: torch.Generator) -> None:
        """The paper says nothing: torch's own way."""
        initialisation.uniform(self, generator)
        initialisation.neutral(self)

    def forward(self, image: Tensor) -> Tensor:
        """One logit for each image: how real it looks."""
        x = image
        for name, layer in self.named_children():
            if name.startswith("linear"):
                break
            x = layer(x)
            if name == "conv0_0" or name.startswith("bn"):
                x = F.leaky_relu(x, 0.2, inplace=True)
        logit: Tensor = self.linear2(F.leaky_relu(self.linear1(x.flatten(1)), 0.2))
        return logit
