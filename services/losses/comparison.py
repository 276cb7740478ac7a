"""What a loss says of an image and its reference: the value, its terms, and maps of them.

These functions import torch: they are for `services.workbench`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.errors import BadInputError
from services.images.catalogue import pixels
from services.losses.gradients import GradientPicture, direction, gradient
from services.losses.pictures import encode, sequential
from services.losses.warm import OpenLoss, open_loss

if TYPE_CHECKING:
    from torch import Tensor

    from mdf.loss import DifferenceMap

# For larger images the activations of one discriminator take more than a few gigabytes.
MAX_PIXELS = 2_000_000


@dataclass(frozen=True)
class Term:
    """The share of one scale and tap in the value."""

    scale: int
    tap: str
    value: float


@dataclass(frozen=True)
class HeatMap:
    """Where one scale and tap see a difference: brightness 1 is `peak`."""

    scale: int
    tap: str
    peak: float
    png: bytes


@dataclass(frozen=True)
class Comparison:
    """A loss's value for two images, and where it comes from."""

    value: float
    terms: list[Term]
    maps: list[HeatMap]
    gradient: GradientPicture | None


def check_sizes(size: tuple[int, int], reference: tuple[int, int]) -> None:
    """Refuse images, (width, height) px, that cannot be compared, before they are decoded."""
    if size != reference:
        raise BadInputError(
            f"the image is {size[0]}×{size[1]} px and its reference {reference[0]}×{reference[1]}: "
            "a loss compares images of one size"
        )
    if size[0] * size[1] > MAX_PIXELS:
        raise BadInputError(
            f"the images have {size[0] * size[1] / 1e6:.1f} megapixels; the server compares up to "
            f"{MAX_PIXELS / 1e6:g}: cut them, or use the downloaded loss"
        )


def compare(
    blobs: str | Path,
    loss_file: str,
    image: bytes,
    reference: bytes,
    *,
    maps: bool,
    gradient_wanted: bool,
) -> Comparison:
    """Compare two images, PNG files of the catalogue, with the loss that lies in `blobs`."""
    loss = open_loss(blobs, loss_file)
    restored, target = to_tensor(image), to_tensor(reference)
    terms, heat_maps = [], []
    for scale, difference in differences(loss, restored, target):
        terms.append(Term(scale, difference.tap, float(difference.map.mean())))
        if maps:
            heat_maps.append(_heat_map(scale, difference))
    return Comparison(
        value=sum(term.value for term in terms),
        terms=terms,
        maps=heat_maps,
        gradient=direction(gradient(loss.whole, restored, target)) if gradient_wanted else None,
    )


def differences(
    loss: OpenLoss, restored: "Tensor", target: "Tensor"
) -> Iterator[tuple[int, "DifferenceMap"]]:
    """The difference map of every scale and tap, with its scale, coarsest first.

    One scale at a time: the activations of all would not fit.
    """
    import torch

    loss.check_size(*target.shape[2:])
    for scale, alone in enumerate(loss.scales):
        with torch.inference_mode():
            maps = alone.maps(restored, target)
        for difference in maps:
            yield scale, difference


def to_tensor(png: bytes) -> "Tensor":
    """A PNG file of the catalogue as an image in [0, 1], (1, 3, H, W)."""
    import torch

    values = torch.from_numpy(pixels(png).copy()).permute(2, 0, 1)[None]
    return values.to(torch.float32) / 255


def _heat_map(scale: int, difference: "DifferenceMap") -> HeatMap:
    values = difference.map[0]
    peak = float(values.max())
    level = (values / peak if peak > 0 else values).numpy()
    return HeatMap(scale=scale, tap=difference.tap, peak=peak, png=encode(sequential(level)))
