"""What people look at before they train: parts of an image, shrunk or distorted."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image

from services.distortions import Distortion, Rescale, distort
from services.errors import BadInputError, Problem
from services.images import catalogue
from services.phase1.recipe import Task

MAX_SIDE = 1024  # of a picture that is made here, px
# A task without distortions undoes the upsampling between scales, whose factor the paper sets to 2.
_UPSAMPLING = Rescale(factor=(2.0, 2.0), kernel="bicubic")

# Width and height of such a picture, px; None: the part's own, but MAX_SIDE at most.
Size = tuple[int | None, int | None]
NATURAL: Size = (None, None)


@dataclass(frozen=True)
class Window:
    """A part of an image, px; up to the border where width or height is None."""

    left: int = 0
    top: int = 0
    width: int | None = None
    height: int | None = None

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom within an image of that size.

        Raises: BadInputError unless all of the window lies in the image.
        """
        right = width if self.width is None else self.left + self.width
        bottom = height if self.height is None else self.top + self.height
        if not (self.left < right <= width and self.top < bottom <= height):
            message = (
                f"the part from ({self.left}, {self.top}) to ({right}, {bottom}) px is not within "
                f"the image of {width}×{height} px"
            )
            raise BadInputError(message, problems=(Problem("", message),))
        return self.left, self.top, right, bottom


def fitted(box: tuple[int, int, int, int], size: Size) -> tuple[int, int]:
    """Width and height of a picture of that part of an image, px.

    Raises: BadInputError for more than the part has.
    """
    part = box[2] - box[0], box[3] - box[1]
    fitting = min(1.0, MAX_SIDE / max(part))
    width = size[0] or max(1, round(part[0] * fitting))
    height = size[1] or max(1, round(part[1] * fitting))
    if width > part[0] or height > part[1]:
        message = f"{width}×{height} px is more than the part of {part[0]}×{part[1]} px has"
        raise BadInputError(message, problems=(Problem("", message),))
    return width, height


def excerpt(png: bytes, window: Window, size: Size = NATURAL) -> bytes:
    """A PNG of a part of an image, over white, shrunk to `size` by Lanczos.

    Raises: BadInputError for a part that is not within the image, or for a larger size.
    """
    pixels = catalogue.pixels(png)
    box = window.box(pixels.shape[1], pixels.shape[0])
    wanted = fitted(box, size)
    image = PIL.Image.fromarray(pixels[box[1] : box[3], box[0] : box[2]])
    if image.size != wanted:
        image = image.resize(wanted, PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)
    return _as_png(image)


def distorted(png: bytes, task: Task, *, position: float, random_seed: int) -> bytes:
    """A PNG of that image as `task` has it: what its loss is to learn the undoing of.

    Args:
        png: 8-bit RGB.
        task: of its ranges the value at `position` is taken.
        position: from 0, the low end of each range, to 1, the high end.
        random_seed: the same one draws the same noise.
    """
    import torch

    with PIL.Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        pixels = np.array(image.convert("RGB"))
    clean = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    generator = torch.Generator().manual_seed(random_seed)
    pipeline = [_at(distortion, position) for distortion in task.pipeline() or [_UPSAMPLING]]
    result = distort(clean, pipeline, generator)[0].permute(1, 2, 0)
    return _as_png(PIL.Image.fromarray((result * 255).round().clamp(0, 255).byte().numpy()))


def _at(distortion: Distortion, position: float) -> Distortion:
    """The same distortion with a value in the place of each range."""
    fixed: dict[str, Any] = {}
    for name, value in distortion:
        if isinstance(value, tuple):
            low, high = value
            drawn = low + (high - low) * position
            whole = isinstance(low, int)
            fixed[name] = (round(drawn),) * 2 if whole else (drawn,) * 2
    return distortion.model_copy(update=fixed)


def _as_png(image: PIL.Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=1)
    return content.getvalue()
