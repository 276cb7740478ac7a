"""What a loss says of an image and its reference: the value, its terms, and maps of them.

These functions import torch: they are for `services.workbench`.
"""

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from services.errors import BadInputError
from services.images.catalogue import pixels

if TYPE_CHECKING:
    from torch import Tensor

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


def compare(artefact: bytes, image: bytes, reference: bytes, *, maps: bool) -> Comparison:
    """Compare two images, PNG files of the catalogue, with the loss in a safetensors file."""
    import torch

    from mdf.loading import read_loss
    from mdf.loss import MDFLoss

    manifest, discriminators = read_loss(artefact)
    restored, target = _tensor(image), _tensor(reference)
    terms, heat_maps = [], []
    for scale, discriminator in enumerate(discriminators):
        # One scale at a time: the activations of all would not fit.
        one = replace(
            manifest,
            widths=manifest.widths[scale : scale + 1],
            iterations=manifest.iterations[scale : scale + 1],
        )
        with torch.inference_mode():
            for difference in MDFLoss(one, [discriminator]).maps(restored, target):
                terms.append(Term(scale, difference.tap, float(difference.map.mean())))
                if maps:
                    heat_maps.append(_heat_map(scale, difference.tap, difference.map[0]))
    return Comparison(value=sum(term.value for term in terms), terms=terms, maps=heat_maps)


def _tensor(png: bytes) -> "Tensor":
    import torch

    values = torch.from_numpy(pixels(png).copy()).permute(2, 0, 1)[None]
    return values.to(torch.float32) / 255


def _heat_map(scale: int, tap: str, values: "Tensor") -> HeatMap:
    import cv2
    import PIL.Image

    peak = float(values.max())
    level = (values / peak if peak > 0 else values).clamp(0, 1).mul(255).round()
    coloured = cv2.applyColorMap(level.numpy().astype(np.uint8), cv2.COLORMAP_INFERNO)
    png = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(coloured[:, :, ::-1])).save(png, "PNG")
    return HeatMap(scale=scale, tap=tap, peak=peak, png=png.getvalue())
