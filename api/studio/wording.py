"""Numbers, sizes and durations as the studio writes them: with units, and no digit too many."""

import math

from mdf.commands.terminal import duration, size

__all__ = ["count", "duration", "number", "size"]


def number(value: float, *, digits: int = 4) -> str:
    """A measured value, with `digits` significant digits: 0.01234, 12.35, 1.235e-7."""
    if not math.isfinite(value):
        return "—"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if not -4 <= magnitude < 7:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(0, digits - 1 - magnitude)}f}"


def count(many: int, of: str, plural: str | None = None) -> str:
    """`1 image`, `12 345 images`, with narrow spaces between thousands."""
    noun = of if many == 1 else plural or f"{of}s"
    return f"{many:,} {noun}".replace(",", "\u202f")
