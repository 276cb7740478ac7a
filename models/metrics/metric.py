"""What a metric says of itself."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from models.pairs import check_pair, full_precision


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One way to score a restored image against the original.

    Args:
        name: for programs.
        label: for people.
        unit: "dB", or "" for a plain number.
        higher_is_better: whether a better image has a higher score.
        range: lowest and highest score of images in [0, 1].
        conventions: windows, padding and scaling, on which implementations differ.
        smallest_side: of the images that it takes, px.
        channels: of the images that it takes; empty: any number.
        score: x, y (N, C, H, W) in [0, 1] → one score for each image, (N,); differentiable.
    """

    name: str
    label: str
    unit: str = ""
    higher_is_better: bool
    range: tuple[float, float]
    conventions: str
    smallest_side: int = 1
    channels: tuple[int, ...] = ()
    score: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The score of each image of `x` against `y`, (N,), float32 or float64.

        Raises: ShapeError if the images cannot be compared.
        """
        check_pair(x, y, name=self.label, smallest_side=self.smallest_side, channels=self.channels)
        with full_precision(x, y) as (restored, target):
            return self.score(restored, target)
