"""Images of any size through a restorer: tiles without seams, in bounded memory.

A tile is evaluated with so much of the real image around it as the network sees from its edge
(`Restorer.receptive_radius`), and the surroundings of the result are thrown away; the network's
own zeros stand at the true borders only. So the tiles together are what the network makes of the
whole image, but for the order in which floating-point sums are taken.

The two halves of a network are tiled apart. `features` needs the wide surroundings and little
memory for each pixel; `reconstruct`, at several times the size, the reverse.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.restorers import Restorer

TILE_BYTES = 512 << 20  # memory for the activations of one tile

OnTile = Callable[[int, int], None]  # tiles done, tiles in all


@dataclass(frozen=True)
class Window:
    """A rectangle of an image, px: rows `top` to `bottom` and columns `left` to `right`."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Indexes the last two dimensions of an image."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def scaled(self, factor: int) -> "Window":
        """The same rectangle of the image enlarged by `factor`."""
        return Window(
            self.top * factor, self.bottom * factor, self.left * factor, self.right * factor
        )

    def divided(self, factor: int) -> "Window":
        """The same rectangle of the image reduced by `factor`; its edges are multiples of it."""
        return Window(
            self.top // factor, self.bottom // factor, self.left // factor, self.right // factor
        )

    def grown(self, margin: int, within: "Window") -> "Window":
        """With `margin` more on each side, as far as `within` goes."""
        return Window(
            max(self.top - margin, within.top),
            min(self.bottom + margin, within.bottom),
            max(self.left - margin, within.left),
            min(self.right + margin, within.right),
        )

    def seen_from(self, other: "Window") -> "Window":
        """The same rectangle, counted from the corner of `other`."""
        return Window(
            self.top - other.top,
            self.bottom - other.top,
            self.left - other.left,
            self.right - other.left,
        )


def restore_tensor(
    restorer: Restorer, image: Tensor, *, tile: int | None = None, on_tile: OnTile | None = None
) -> Tensor:
    """The restored image, in tiles if it is large.

    Args:
        restorer: in evaluation mode.
        image: (1, C, H, W) in [0, 1], of any size from one pixel and of the restorer's C.
        tile: side of the tiles, px of the image; by default what fits into `TILE_BYTES`.
        on_tile: called after each tile; what it raises ends the restoration.

    Returns: (1, C, H·scale, W·scale), not clamped, without gradient, where the image is.
    Raises: ValueError for another shape.
    """
    if image.ndim != 4 or image.shape[0] != 1 or image.shape[1] != restorer.channels:
        raise ValueError(
            f"the image has shape {tuple(image.shape)}; a restorer of {restorer.channels} channels "
            f"takes (1, {restorer.channels}, H, W)"
        )
    height, width = image.shape[-2:]
    restored = image.new_empty(
        1, restorer.channels, height * restorer.scale, width * restorer.scale
    )
    tiles = restore_tiles(
        restorer,
        lambda window: image[..., *window.slices],
        height,
        width,
        tile=tile,
        on_tile=on_tile,
    )
    for window, part in tiles:
        restored[..., *window.slices] = part
    return restored


@torch.no_grad()
def restore_tiles(
    restorer: Restorer,
    read: Callable[[Window], Tensor],
    height: int,
    width: int,
    *,
    tile: int | None = None,
    on_tile: OnTile | None = None,
) -> Iterator[tuple[Window, Tensor]]:
    """The restored image in parts: each with the window of the result that it fills.

    `read` gives the pixels of a window of the image, (1, C, h, w) in [0, 1]; it is asked for one
    at a time, so that the image need not be in memory as numbers. The rest is as in
    `restore_tensor`.
    """
    device = next(restorer.parameters()).device
    fold, scale = restorer.multiple, restorer.scale
    image = Window(0, height, 0, width)
    padded = Window(0, _padded(height, restorer), 0, _padded(width, restorer))
    margin = _ceil(restorer.receptive_radius, fold)
    outer_side = tile or _outer_side(restorer, padded)
    inner_side = tile or _inner_side(restorer)
    plan = [
        (outer, list(_split(outer, inner_side, fold))) for outer in _split(padded, outer_side, fold)
    ]
    total = sum(len(inner) for _, inner in plan)
    done = 0
    for outer, inner in plan:
        seen = outer.grown(margin, within=padded)
        with _full_precision():
            features = restorer.features(_read(read, seen, image).to(device))
        seen_features, all_features = seen.divided(fold), padded.divided(fold)
        for window in inner:
            kept = window.divided(fold)
            around = kept.grown(restorer.tail_radius, within=all_features)
            with _full_precision():
                part = restorer.reconstruct(features[..., *around.seen_from(seen_features).slices])
            enlargement = fold * scale
            part = part[..., *kept.seen_from(around).scaled(enlargement).slices]
            result = window.scaled(scale).grown(0, within=image.scaled(scale))  # without padding
            yield (
                result,
                part[..., : result.bottom - result.top, : result.right - result.left],
            )
            done += 1
            if on_tile is not None:
                on_tile(done, total)


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Convolutions on a GPU in float32, not in TF32, whose rounding would let seams show."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


def _read(read: Callable[[Window], Tensor], window: Window, image: Window) -> Tensor:
    """The pixels of a window that may reach beyond the image, whose last ones are repeated."""
    inside = window.grown(0, within=image)
    pixels = read(inside)
    right, bottom = window.right - inside.right, window.bottom - inside.bottom
    return F.pad(pixels, (0, right, 0, bottom), mode="replicate") if right or bottom else pixels


def _split(window: Window, side: int, fold: int) -> Iterator[Window]:
    """Windows no larger than `side` that make up `window`, all about as large."""
    for top, bottom in _spans(window.top, window.bottom, side, fold):
        for left, right in _spans(window.left, window.right, side, fold):
            yield Window(top, bottom, left, right)


def _spans(start: int, end: int, side: int, fold: int) -> Iterator[tuple[int, int]]:
    folds = (end - start) // fold
    count = math.ceil(folds / max(1, side // fold))
    edges = [start + fold * (folds * index // count) for index in range(count + 1)]
    yield from itertools.pairwise(edges)


def _outer_side(restorer: Restorer, image: Window) -> int:
    """Side of the tiles of `features`: the whole image if that fits.

    For a network with a far reach a tile is no smaller than its reach, whatever that takes:
    else most of the work would be on surroundings that are thrown away.
    """
    radius = restorer.receptive_radius
    pixels = max(TILE_BYTES // restorer.features_bytes, (3 * radius) ** 2)
    if image.bottom * image.right <= pixels:
        return max(image.bottom, image.right)
    return math.isqrt(pixels) - 2 * radius


def _inner_side(restorer: Restorer) -> int:
    """Side of the tiles of `reconstruct`, px of the image."""
    pixels = TILE_BYTES // max(1, restorer.reconstruct_bytes)
    return math.isqrt(pixels) - 2 * restorer.tail_radius * restorer.multiple


def _padded(side: int, restorer: Restorer) -> int:
    return _ceil(max(side, restorer.smallest_side), restorer.multiple)


def _ceil(value: int, fold: int) -> int:
    return math.ceil(value / fold) * fold
