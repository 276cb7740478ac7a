"""What every loss that compares two images has in common."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from models.pairs import check_pair, full_precision


class ComparisonLoss(nn.Module, ABC):
    """A scalar that says how far a restored image is from its target: the smaller the nearer.

    It computes in float32 or float64, also within an autocast region: half-precision images
    are converted, the loss is float32 then.

    Shape: restored, target (N, C, H, W) in [0, 1]. Returns a scalar, the mean over the batch.
    Raises: ShapeError if the images cannot be compared.
    """

    name: ClassVar[str]
    smallest_side: int = 1  # px
    channels: ClassVar[tuple[int, ...]] = ()  # that it takes; empty: any number

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """The loss of `restored` against `target`."""
        check_pair(
            restored,
            target,
            name=self.name,
            smallest_side=self.smallest_side,
            channels=self.channels,
        )
        with full_precision(restored, target) as (x, y):
            return self.compare(x, y)

    @abstractmethod
    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss of a checked pair in float32 or float64."""
