"""The sheet of a data set: thumbnails of its pictures, or of some of many."""

import io
from collections.abc import Iterable

import numpy as np
import PIL.Image
from numpy.typing import NDArray

COLUMNS, ROWS = 8, 6
_CELL, _GAP = 144, 8  # px
_PAPER = (247, 247, 247)


def shown_positions(count: int) -> list[int]:
    """Which of `count` pictures the sheet shows: all, or some evenly apart with the first."""
    shown = min(count, COLUMNS * ROWS)
    return [place * count // shown for place in range(shown)]


def draw_sheet(pictures: Iterable[NDArray[np.uint8]]) -> bytes:
    """A PNG of up to 48 pictures, (H, W, 3) in RGB; the same pictures give the same bytes."""
    thumbnails = []
    for pixels in pictures:
        thumbnail = PIL.Image.fromarray(pixels)
        thumbnail.thumbnail((_CELL, _CELL), PIL.Image.Resampling.LANCZOS)
        thumbnails.append(thumbnail)
    columns = min(COLUMNS, len(thumbnails))
    rows = -(-len(thumbnails) // columns)
    step = _CELL + _GAP
    sheet = PIL.Image.new("RGB", (columns * step + _GAP, rows * step + _GAP), _PAPER)
    for place, thumbnail in enumerate(thumbnails):
        row, column = divmod(place, columns)
        left = _GAP + column * step + (_CELL - thumbnail.width) // 2
        top = _GAP + row * step + (_CELL - thumbnail.height) // 2
        sheet.paste(thumbnail, (left, top))
    content = io.BytesIO()
    sheet.save(content, "PNG", compress_level=6)
    return content.getvalue()
