"""How large a restored image may be; nothing here imports torch."""

from services.errors import BadInputError
from services.restoration.spec import PictureFormat

MAX_PIXELS = 100_000_000  # of a result
MAX_SIDES: dict[PictureFormat, int] = {"jpeg": 65_535, "webp": 16_383}  # of the formats


def largest(scale: int, form: PictureFormat, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """How many pixels, and how many a side, an image may have for `check_size` to let it pass."""
    return max_pixels // scale**2, MAX_SIDES.get(form, max_pixels) // scale


def check_size(
    size: tuple[int, int], scale: int, form: PictureFormat, *, max_pixels: int = MAX_PIXELS
) -> None:
    """Refuse an image of that (width, height), px, whose result would be too large.

    Args:
        size: of the image, before it is restored.
        scale: by which the model enlarges.
        form: of the restored file.
        max_pixels: of the result.
    """
    pixels, side = largest(scale, form, max_pixels=max_pixels)
    width, height = size
    result = f"the result would be {width * scale} × {height * scale} pixels"
    if scale > 1:
        result += f" (the model enlarges by {scale})"
    if width * height > pixels:
        raise BadInputError(
            f"{result}; at most {max_pixels / 1e6:g} megapixels are restored: take a smaller image"
        )
    if max(size) > side:
        raise BadInputError(
            f"{result}; {form} files have at most {MAX_SIDES[form]} pixels a side: take the format "
            "png"
        )
