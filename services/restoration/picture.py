"""One image file through a restorer: decoded, restored in tiles, encoded.

The pixels stay 8-bit from end to end; numbers in floating point exist for one tile at a time.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.restorers import Restorer
from services.errors import BadInputError
from services.images.decoding import Limits, decode
from services.restoration.size import MAX_PIXELS, check_size
from services.restoration.spec import PictureFormat
from services.restoration.tiling import OnTile, Window, restore_tiles
from services.settings import load_settings

QUALITY = 95  # of JPEG and WebP

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class RestoredPicture:
    """A restored image as a file.

    `notes` says in words what the file could not keep.
    """

    content: bytes
    media_type: str
    width: int  # px
    height: int  # px
    notes: tuple[str, ...] = ()


def restore_picture(
    restorer: Restorer,
    content: bytes,
    *,
    format: PictureFormat = "png",
    quality: int | None = None,
    on_tile: OnTile | None = None,
    max_pixels: int = MAX_PIXELS,
    limits: Limits | None = None,
    decoded: bool = False,
) -> RestoredPicture:
    """The restored image of a file.

    The EXIF orientation is applied and 16 bits become 8. A grey image (three equal planes) gives
    a grey one; a restorer of one channel restores the planes of a colour image one by one.
    Transparency is kept, and resized where the restorer enlarges; the colour below it is restored
    as it is. JPEG has none: the result is laid over white, and `notes` says so.

    Args:
        restorer: in evaluation mode.
        content: a PNG, JPEG, WebP or TIFF file; it is decoded in a process of its own.
        format: of the result.
        quality: of JPEG and WebP, 1 to 100; by default `QUALITY`.
        on_tile: called after each tile with the tiles done and in all; what it raises ends it.
        max_pixels: of the result.
        limits: what is decoded; by default as the settings say. One pixel is enough in any case.
        decoded: whether `content` is a PNG that `decode` made, as the catalogue keeps: it is
            opened here and now, and the limits do not count.

    Raises: BadImageError and its kin for a bad file; BadInputError for a result that is too large
    for `max_pixels` or the format, a quality that is out of range, and a restorer that computes
    values that are not finite.
    """
    _check_quality(format, quality)
    if not decoded:
        limits = limits or Limits.of(load_settings())
        content = decode(content, replace(limits, min_side=1), keep_alpha=True).png
    pixels = _open(content)
    del content
    height, width = pixels.shape[:2]
    check_size((width, height), restorer.scale, format, max_pixels=max_pixels)
    restored = _restore(restorer, pixels, on_tile)
    return _encode(restored, format, quality)


def _open(png: bytes) -> Pixels:
    """(H, W, C) of a decoded PNG: grey, grey and alpha, RGB or RGBA."""
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        pixels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    red, green, blue = (pixels[..., plane] for plane in range(3))
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return np.ascontiguousarray(pixels[..., [0, *range(3, pixels.shape[2])]])
    return pixels


def _restore(restorer: Restorer, pixels: Pixels, on_tile: OnTile | None) -> Pixels:
    """(H, W, C) → (H·scale, W·scale, C); the last of two or four channels is alpha."""
    height, width, channels = pixels.shape
    scale = restorer.scale
    colours = channels - 1 if channels in (2, 4) else channels
    restored = np.empty((height * scale, width * scale, channels), np.uint8)
    # The planes that go through the restorer together.
    together = [[plane] for plane in range(colours)]
    if restorer.channels == 3:
        together = [list(range(colours))]
    for number, planes in enumerate(together):
        tiles = restore_tiles(
            restorer,
            _reader(pixels[..., planes[0] : planes[-1] + 1], restorer.channels),
            height,
            width,
            on_tile=_share(on_tile, number, len(together)),
        )
        for window, part in tiles:
            restored[(*window.slices, slice(planes[0], planes[-1] + 1))] = _bytes(part, planes)
    if colours < channels:
        restored[..., -1] = _resized(pixels[..., -1], scale)
    return restored


def _reader(pixels: Pixels, channels: int) -> Callable[[Window], Tensor]:
    """Reads windows of (H, W, 1 or `channels`) as (1, channels, h, w) in [0, 1]."""

    def read(window: Window) -> Tensor:
        part = torch.from_numpy(pixels[window.slices].copy())
        image = part.permute(2, 0, 1)[None].to(torch.float32).div_(255)
        return image.expand(-1, channels, -1, -1)

    return read


def _bytes(part: Tensor, planes: list[int]) -> Pixels:
    """(1, C, h, w) in [0, 1], clamped, as (h, w, planes); grey is the mean of the colours."""
    if not torch.isfinite(part).all():
        raise BadInputError(
            "the model gives values that are not finite for this image: its weights are damaged, "
            "or of another network"
        )
    part = part[0].clamp(0, 1)
    if len(planes) < part.shape[0]:
        part = part.mean(dim=0, keepdim=True)
    scaled = part.mul(255).round_().to(torch.uint8)
    pixels: Pixels = scaled.permute(1, 2, 0).cpu().numpy()
    return pixels


def _resized(alpha: Pixels, scale: int) -> Pixels:
    if scale == 1:
        return alpha
    image = Image.fromarray(np.ascontiguousarray(alpha))
    size = image.width * scale, image.height * scale
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def _share(on_tile: OnTile | None, number: int, count: int) -> OnTile | None:
    """Of `count` equal runs this is `number`: tiles are counted over all of them."""
    if on_tile is None:
        return None
    return lambda done, total: on_tile(number * total + done, count * total)


def _encode(pixels: Pixels, form: PictureFormat, quality: int | None) -> RestoredPicture:
    height, width, channels = pixels.shape
    notes: list[str] = []
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)  # L, LA, RGB, RGBA
    if form == "jpeg" and channels in (2, 4):
        image = _over_white(image)
        notes.append("transparency laid over white: JPEG has none")
    options: dict[PictureFormat, dict[str, Any]] = {
        "png": {"compress_level": 2},
        "jpeg": {"quality": quality or QUALITY, "subsampling": "4:4:4"},
        "webp": {"quality": quality or QUALITY, "exact": True},
    }
    file = io.BytesIO()
    image.save(file, form.upper(), **options[form])
    return RestoredPicture(file.getvalue(), f"image/{form}", width, height, tuple(notes))


def _over_white(image: Image.Image) -> Image.Image:
    colour = image.mode.removesuffix("A")
    paper = Image.new(colour, image.size, "white")
    paper.paste(image.convert(colour), mask=image.getchannel("A"))
    return paper


def _check_quality(form: PictureFormat, quality: int | None) -> None:
    if quality is None:
        return
    if form == "png":
        raise BadInputError(
            f"quality is {quality}, and PNG has none: it is lossless; leave quality out, or take "
            "the format jpeg or webp"
        )
    if not 1 <= quality <= 100:
        raise BadInputError(f"quality is {quality}; it must be from 1 (worst) to 100")
