"""Numbers, sizes and durations as the studio writes them: with units, and no digit too many."""

import math

from mdf.commands.terminal import duration, size

__all__ = ["about", "count", "duration", "number", "size", "span"]


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


def about(seconds: float) -> str:
    """A length of time that is foreseen: `40 s`, `7 min`, `3 h 10 min`."""
    steps = ((3600, 600), (90, 60), (20, 10), (0, 1))
    step = next((step for least, step in steps if seconds >= least), 1)
    words = span(max(1, round(seconds / step) * step))
    return words.removesuffix(" 0 s").removesuffix(" 0 min")


def span(seconds: float) -> str:
    """`42 s`, `12 min 5 s`, `3 h 2 min`, `2 d 7 h`."""
    whole = round(max(0.0, seconds))
    for large, small, length, part in (("d", "h", 86400, 3600), ("h", "min", 3600, 60)):
        if whole >= length:
            return f"{whole // length} {large} {whole % length // part} {small}"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
