"""The discriminator of one scale (Mustafa et al. 2022, section 3.1; SinGAN, Shaham et al. 2019).

Five 3×3 convolutions, stride 1: head, three body blocks, tail. Its receptive field is 11×11, so
it judges patches. Trained against a generator it learns what the task's distortion looks like;
frozen, its activations are the features that the MDF loss compares.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Padding = Literal["valid", "same"]

NEGATIVE_SLOPE = 0.2
MIN_LAYERS = 3


class Block(nn.Module):
    """Convolution 3×3 → BatchNorm → LeakyReLU(0.2)."""

    def __init__(self, in_channels: int, out_channels: int, *, padding: Padding) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=int(padding == "same"))
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, in, H, W) → (N, out, H, W), or two less each way with "valid" padding."""
        return F.leaky_relu(self.norm(self.conv(x)), NEGATIVE_SLOPE)


class Discriminator(nn.Module):
    """A patch critic: an image in, a map of raw activations out (no sigmoid).

    Args:
        width: channels of the head and of every body block.
        layers: convolutions in all, at least 3: one head, layers − 2 body blocks, one tail.
        padding: "valid", the map loses 2·layers pixels each way (the published networks), or
            "same", zeros are added and the map has the image's size (the paper's text).
        channels: of the image.

    Shape: (N, channels, H, W) → (N, 1, h, w); H and W ≥ `smallest_side`.
    """

    def __init__(
        self, *, width: int, layers: int = 5, padding: Padding = "valid", channels: int = 3
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width is {width}; it must be at least 1")
        if layers < MIN_LAYERS:
            raise ValueError(f"layers is {layers}; it must be at least {MIN_LAYERS}")
        if padding not in ("valid", "same"):
            raise ValueError(f'padding is {padding!r}; it must be "valid" or "same"')
        self.width = width
        self.layers = layers
        self.padding: Padding = padding
        self.channels = channels
        self.head = Block(channels, width, padding=padding)
        self.body = nn.Sequential(
            *(Block(width, width, padding=padding) for _ in range(layers - 2))
        )
        self.tail = nn.Conv2d(width, 1, 3, padding=int(padding == "same"))

    @property
    def smallest_side(self) -> int:
        """The smallest image side, in pixels, that leaves a map of one pixel."""
        return smallest_side(self.layers, self.padding)

    def forward(self, x: Tensor) -> Tensor:
        """The map of activations, one per patch."""
        activations: Tensor = self.tail(self.body(self.head(x)))
        return activations


def smallest_side(layers: int, padding: Padding) -> int:
    """The smallest image side, in pixels, that a discriminator of this shape can judge."""
    return 2 * layers + 1 if padding == "valid" else 1


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of every convolution and BatchNorm in `module`, as SinGAN does.

    Convolutions ~ N(0, 0.02), BatchNorm scales ~ N(1, 0.02), all biases 0. The numbers are drawn
    on the generator's device, so that one seed gives one network wherever the module lives.
    """

    def draw(parameter: Tensor) -> Tensor:
        return torch.randn(parameter.shape, generator=generator, device=generator.device)

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.copy_(0.02 * draw(layer.weight))
        elif isinstance(layer, nn.BatchNorm2d):
            layer.weight.copy_(1 + 0.02 * draw(layer.weight))
        else:
            continue
        if layer.bias is not None:
            layer.bias.zero_()
