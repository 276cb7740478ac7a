"""What is compared when a restored image is scored: part of every score's meaning."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from models.errors import ShapeError
from models.windows import crop


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How images are prepared before a metric sees them, in this order.

    Args:
        value_range: of the images: 1.0 for [0, 1], 255 for [0, 255]; metrics see [0, 1].
        eight_bit: whether values are clamped and rounded to the 256 levels of a file. Without it
            values outside the range count as they are, and the scores have a useful gradient.
        colour: "rgb", the channels as they are, or "y", the luma of BT.601 in studio range
            (16–235 of 255), which papers on super-resolution score; grey images are left as
            they are.
        border: pixels cut off on each side; these papers cut the scale factor.
    """

    value_range: float = 1.0
    eight_bit: bool = False
    colour: Literal["rgb", "y"] = "rgb"
    border: int = 0

    def __post_init__(self) -> None:
        if not self.value_range > 0:
            raise ValueError(f"value_range is {self.value_range}; it must be above 0")
        if self.colour not in ("rgb", "y"):
            raise ValueError(f'colour is {self.colour!r}; it must be "rgb" or "y"')
        if self.border < 0:
            raise ValueError(f"border is {self.border} pixels; it must be 0 or more")

    def prepare(self, image: Tensor) -> Tensor:
        """`image`, (N, C, H, W) in [0, value_range], as the metrics take it.

        Raises: ShapeError if nothing is left within the border, or for `colour` "y" if there
            are neither one nor three channels.
        """
        if image.ndim != 4 or min(image.shape[2:]) <= 2 * self.border:
            raise ShapeError(
                f"the images are {tuple(image.shape)}; they must be (N, C, H, W), larger than "
                f"the border of {self.border} pixels on each side"
            )
        if self.value_range != 1:
            image = image / self.value_range
        if self.eight_bit:
            image = (image.clamp(0, 1) * 255).round() / 255
        if self.colour == "y" and image.shape[1] != 1:
            image = studio_luma(image)
        return crop(image, self.border)


def studio_luma(image: Tensor) -> Tensor:
    """Y of BT.601 in studio range, (N, 1, H, W): 16/255 for black, 235/255 for white.

    Args:
        image: (N, 3, H, W) in [0, 1].
    """
    return _weighted(image, (65.481, 128.553, 24.966)) / 255 + 16 / 255


def luma(image: Tensor) -> Tensor:
    """Y of BT.601 in full range, (N, 1, H, W) in [0, 1]; a grey image is its own.

    Args:
        image: (N, 1 or 3, H, W) in [0, 1].
    """
    return image if image.shape[1] == 1 else _weighted(image, (0.299, 0.587, 0.114))


def _weighted(image: Tensor, weights: tuple[float, float, float]) -> Tensor:
    if image.shape[1] != 3:
        raise ShapeError(
            f"the images have {image.shape[1]} channels ({tuple(image.shape)}); 1 or 3 are allowed"
        )
    factors = torch.tensor(weights, dtype=image.dtype, device=image.device)
    return (image * factors[:, None, None]).sum(dim=1, keepdim=True)
