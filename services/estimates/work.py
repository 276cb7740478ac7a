"""Work as it is counted: what an iteration passes through its layers. No torch.

A convolution's pass costs its multiply-adds; what follows it, BatchNorm and activation, costs the
values it writes; and every layer costs a little however small it is. A backward pass costs as much
as the forward once for the input and once for the weights.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Self


@dataclass(frozen=True)
class Work:
    """Counts; they add up, and are multiplied by how often something is done."""

    layers: float = 0.0  # passes through one layer
    multiply_adds: float = 0.0
    values: float = 0.0  # written by layers
    pixels: float = 0.0  # of images that are degraded on the CPU

    def __add__(self, other: Self) -> Self:
        return type(self)(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: float) -> Self:
        return type(self)(*(count * times for count in astuple(self)))


@dataclass(frozen=True)
class Layer:
    """A convolution, by what it writes: `outputs` channels of `height` × `width` px."""

    kernel: int  # its side, px
    inputs: int
    outputs: int
    height: int
    width: int

    @property
    def values(self) -> int:
        """That it writes."""
        return self.outputs * self.height * self.width

    @property
    def weights(self) -> int:
        """Of its kernel."""
        return self.kernel**2 * self.inputs * self.outputs


def forward(layers: Iterable[Layer]) -> Work:
    """One pass of one image."""
    counted = list(layers)
    return Work(
        layers=len(counted),
        multiply_adds=sum(layer.weights * layer.height * layer.width for layer in counted),
        values=sum(layer.values for layer in counted),
    )
