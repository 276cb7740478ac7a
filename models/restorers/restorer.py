"""What every restoration network declares about itself, and how it is evaluated in parts."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

Hyperparameter = bool | int | float | str | list[int]


class Restorer(nn.Module, ABC):
    """A network from a degraded image to the restored one.

    It works in two halves. `features` sees the image at its own size and holds nearly all of the
    layers; `reconstruct` makes the restored image of the features, at the size of the result.
    Whoever restores in tiles gives each half as much as fits into memory.

    Class attributes:
        kind: the network's name in the registry.

    Attributes:
        hyperparameters: what the constructor was given, by name: `create(kind, **these)` builds
            the same network.
        scale: sides of the result over sides of the image.
        channels: of the image and of the result, 1 (grey) or 3 (RGB).
        multiple: the image's sides must be multiples of it, px; who calls pads.
        smallest_side: of an image, px; a multiple of `multiple`.
        receptive_radius: a pixel of the result depends on the image's pixel that it lies in and
            on no more than so many around it, each way.
        tail_radius: the same of `reconstruct`, in pixels of the features.
        features_bytes, reconstruct_bytes: memory that each half takes at its peak in float32,
            without gradient, for each pixel of the image: what tiles are sized by.

    Shape: (N, channels, H, W) in [0, 1] → (N, channels, H·scale, W·scale), not clamped.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        hyperparameters: dict[str, Hyperparameter],
        *,
        channels: int,
        receptive_radius: int,
        features_bytes: int,
        scale: int = 1,
        multiple: int = 1,
        tail_radius: int = 0,
        reconstruct_bytes: int = 0,
    ) -> None:
        super().__init__()
        self.hyperparameters = hyperparameters
        self.scale = scale
        self.channels = channels
        self.multiple = multiple
        self.smallest_side = multiple
        self.receptive_radius = receptive_radius
        self.tail_radius = tail_radius
        self.features_bytes = features_bytes
        self.reconstruct_bytes = reconstruct_bytes

    @abstractmethod
    def draw(self, generator: torch.Generator) -> None:
        """Draw every weight; `models.restorers.initialise` calls it."""

    @abstractmethod
    def features(self, image: Tensor) -> Tensor:
        """(N, channels, H, W) in [0, 1] → (N, F, H / multiple, W / multiple)."""

    def reconstruct(self, features: Tensor) -> Tensor:
        """What `features` gave → (N, channels, H·scale, W·scale); they are it already here."""
        return features

    def forward(self, image: Tensor) -> Tensor:
        """The restored image."""
        return self.reconstruct(self.features(image))
