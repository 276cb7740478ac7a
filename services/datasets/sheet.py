"""The sheet of a data set: thumbnails of its pictures, or of some of many."""

import io
from collections.abc import Iterable

import numpy as np
import PIL.Image
from numpy.typing import NDArray

COLUMNS, ROWS = 8, 6
CELL, GAP = 144, 8  # px
_PAPER = (247, 247, 247)


def shown_positions(count: int) -> list[int]:
    """Which of `count` pictures the sheet shows: all, or some evenly apart with the first."""
    shown = min(count, COLUMNS * ROWS)
    return [place * count // shown for place in range(shown)]


def sheet_size(shown: int) -> tuple[int, int]:
    """Width and height of a sheet of `shown` thumbnails, px."""
    columns = min(COLUMNS, shown)
    step = CELL + GAP
    return columns * step + GAP, -(-shown // columns) * step + GAP


def cell(place: int, shown: int) -> tuple[int, int]:
    """Left and upper edge of the thumbnail at `place` of `shown`, px; its sides are CELL."""
    row, column = divmod(place, min(COLUMNS, shown))
    return GAP + column * (CELL + GAP), GAP + row * (CELL + GAP)


def draw_sheet(pictures: Iterable[NDArray[np.uint8]]) -> bytes:
    """A PNG of up to 48 pictures, (H, W, 3) in RGB; the same pictures give the same bytes."""
    thumbnails = []
    for pixels in pictures:
        thumbnail = PIL.Image.fromarray(pixels)
        thumbnail.thumbnail((CELL, CELL), PIL.Image.Resampling.LANCZOS)
        thumbnails.append(thumbnail)
    sheet = PIL.Image.new("RGB", sheet_size(len(thumbnails)), _PAPER)
    for place, thumbnail in enumerate(thumbnails):
        left, top = cell(place, len(thumbnails))
        left += (CELL - thumbnail.width) // 2
        top += (CELL - thumbnail.height) // 2
        sheet.paste(thumbnail, (left, top))
    content = io.BytesIO()
    sheet.save(content, "PNG", compress_level=6)
    return content.getvalue()
