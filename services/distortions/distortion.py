"""What every distortion is: a small frozen specification with `apply`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import ConfigDict

from services.exact import Exact

if TYPE_CHECKING:
    from torch import Generator, Tensor


class Distortion(Exact, ABC):
    """One way to degrade an image; torch is imported only when it is applied.

    A subclass names itself by a literal field `kind`, has pairs annotated with `Bounds`
    for parameters, and joins the union `AnyDistortion` of this package.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Degrade `image`, with parameters drawn anew from `generator`.

        Args:
            image: (N, 3, H, W), [0, 1] nominally: an earlier distortion or a network may
                have left values outside, which a codec or a sensor clips.
            generator: on the image's device; one draw of the parameters for the batch.

        Returns: a new tensor of the same shape, type and device.
        """


def distort(image: Tensor, pipeline: Sequence[Distortion], generator: Generator) -> Tensor:
    """Apply the distortions of `pipeline` in the given order."""
    for distortion in pipeline:
        image = distortion.apply(image, generator)
    return image
