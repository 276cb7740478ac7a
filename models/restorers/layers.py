"""Layers that several networks share."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def convolution(inputs: int, outputs: int, side: int = 3, *, bias: bool = True) -> nn.Conv2d:
    """A convolution side × side that keeps the size: zeros stand around its input."""
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=bias)


def convolutions(module: nn.Module) -> Iterator[nn.Conv2d | nn.Linear]:
    """Every convolution and linear layer in `module`, in the order of its parameters."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            yield layer


class MeanShift(nn.Module):
    """A fixed linear map of the colours: takes the mean colour away, or adds it.

    Weight and bias are those of a 1×1 convolution; they are not trained.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, mean: tuple[float, ...], *, sign: int) -> None:
        super().__init__()
        channels = len(mean)
        self.register_buffer("weight", torch.eye(channels).reshape(channels, channels, 1, 1))
        self.register_buffer("bias", sign * torch.tensor(mean))

    def forward(self, image: Tensor) -> Tensor:
        """Shape: (N, C, H, W) → the same."""
        return F.conv2d(image, self.weight, self.bias)
