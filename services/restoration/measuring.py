"""How close a restored image is to the image it should be.

`measure` imports torch: it is for `services.workbench`.
"""

from dataclasses import dataclass

from services.errors import BadInputError
from services.images.catalogue import pixels

# What is measured where the images are large enough for it.
NAMES = ("psnr", "ssim", "ms_ssim", "gmsd", "fsimc")
# For larger images the metrics take more than a gigabyte.
MAX_PIXELS = 4_000_000


@dataclass(frozen=True)
class Measurement:
    """A metric's value, and how to read it."""

    name: str
    label: str
    unit: str
    higher_is_better: bool
    value: float


def check_reference(width: int, height: int) -> None:
    """Refuse a reference, px, that is too large to measure against."""
    if width * height > MAX_PIXELS:
        raise BadInputError(
            f"the image has {width * height / 1e6:.1f} megapixels; the server measures up to "
            f"{MAX_PIXELS / 1e6:g}: cut it"
        )


def check_sizes(size: tuple[int, int], reference: tuple[int, int]) -> None:
    """Refuse images, (width, height) px, of two sizes."""
    if size != reference:
        raise BadInputError(
            f"the image is {size[0]}×{size[1]} px and its reference {reference[0]}×{reference[1]}: "
            "images of one size are measured"
        )


def measure(image: bytes, reference: bytes) -> list[Measurement]:
    """Every metric that takes images of their size; both are PNG files of 8 bits."""
    import torch

    from models.metrics import METRICS
    from models.metrics import measure as score

    def tensor(png: bytes) -> torch.Tensor:
        return torch.from_numpy(pixels(png).copy()).permute(2, 0, 1)[None].float() / 255

    restored, target = tensor(image), tensor(reference)
    side = min(target.shape[2:])
    fitting = [METRICS[name] for name in NAMES if METRICS[name].smallest_side <= side]
    values = score([metric.name for metric in fitting], restored, target)
    return [
        Measurement(
            name=metric.name,
            label=metric.label,
            unit=metric.unit,
            higher_is_better=metric.higher_is_better,
            value=values[metric.name],
        )
        for metric in fitting
    ]
