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


def enlarged(image: Tensor, scale: int) -> Tensor:
    """Bilinear interpolation, (N, C, H, W) → (N, C, H·scale, W·scale); edges are repeated.

    As torch's with `align_corners=False`, but the weights do not depend on where in the image a
    pixel is: torch computes them of its coordinates, whose rounding differs from tile to tile.
    """
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    phases = [
        part for rows in _phases(padded, scale, dim=2) for part in _phases(rows, scale, dim=3)
    ]
    return F.pixel_shuffle(torch.stack(phases, dim=2).flatten(1, 2), scale)


def _phases(padded: Tensor, scale: int, *, dim: int) -> Iterator[Tensor]:
    """The pixels at each place within the enlarged ones, along one dimension; its padding goes."""
    side = padded.shape[dim] - 2
    before, here, after = (padded.narrow(dim, start, side) for start in range(3))
    for phase in range(scale):
        offset = (phase + 0.5) / scale - 0.5
        yield torch.lerp(here, before if offset < 0 else after, abs(offset))


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
