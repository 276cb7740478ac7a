"""Trying a loss: two small pictures, what it says of them, and where.

What is distorted is clipped and rounded as in a file: what is shown is what is compared.
These functions import torch: they are for `services.workbench`.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from services.images.catalogue import pixels
from services.losses import gradients
from services.losses.comparison import Term, differences, to_tensor
from services.losses.pictures import encode, sequential
from services.losses.warm import open_loss
from services.phase1.recipe import Task
from services.previews import Window, distorted, excerpt

if TYPE_CHECKING:
    from torch import Tensor

# Weights of the discriminators times pixels, up to which a look takes some seconds on two CPU
# cores: 256×256 px for eight scales of the paper's widths, 512×512 px for the preset `quick`.
MAX_OPERATIONS = 4e10
MAX_PIXELS = 512 * 512  # the pictures travel at every move of a slider

_WEIGHT_BYTES = 4
_KEPT_PAIRS = 2  # whose maps stay for the next look: up to 50 megabytes each

Layer = Literal["difference", "direction", "magnitude"]


@dataclass(frozen=True)
class Pair:
    """A picture to be judged, and what it should be: PNG files of one size."""

    image: bytes
    target: bytes


@dataclass(frozen=True)
class Judgement:
    """What a loss says of a pair, with the share of each scale and tap; PSNR in dB."""

    value: float
    psnr: float
    terms: list[Term]


@dataclass(frozen=True)
class Overlay:
    """A picture to lay over a pair's, transparent where it says nothing; full colour is `peak`."""

    peak: float
    png: bytes


def fitting_size(
    width: int,
    height: int,
    longest: int | None,
    file_bytes: int,
    *,
    operations: float,
    pixels: float,
) -> tuple[int, int]:
    """Width and height, px, that an image of that size is shrunk to for work with a loss.

    Args:
        width, height: of the image, px.
        longest: its longer side at most, px; None if the limits alone decide.
        file_bytes: size of the loss's safetensors file, which says how many weights it has.
        operations, pixels: limits.
    """
    allowed = min(pixels, operations * _WEIGHT_BYTES / file_bytes)
    share = min(
        1.0, (allowed / (width * height)) ** 0.5, (longest or math.inf) / max(width, height)
    )
    return max(1, math.floor(width * share)), max(1, math.floor(height * share))


def prepare(
    reference: bytes,
    image: bytes | None,
    task: Task,
    *,
    size: tuple[int, int],
    position: float,
) -> Pair:
    """The pair to look at, shrunk to `size`, px: `image` and `reference`.

    Without `image` it is the reference, distorted as `task` has it at `position` of its ranges.
    """
    target = excerpt(reference, Window(), size)
    if image is not None:
        return Pair(excerpt(image, Window(), size), target)
    return Pair(distorted(target, task, position=position, random_seed=0), target)


def judge(blobs: str | Path, loss_file: str, pair: Pair) -> Judgement:
    """The loss of a pair, where it comes from, and its PSNR beside it."""
    from models.metrics.pixelwise import psnr

    terms = [
        Term(scale, tap, float(values.mean()))
        for (scale, tap), values in _maps(blobs, loss_file, pair).items()
    ]
    return Judgement(
        value=sum(term.value for term in terms),
        psnr=float(psnr(to_tensor(pair.image), to_tensor(pair.target))),
        terms=terms,
    )


def overlay(
    blobs: str | Path,
    loss_file: str,
    pair: Pair,
    layer: Layer,
    *,
    scale: int | None = None,
    tap: str | None = None,
) -> Overlay:
    """A layer over a pair: its difference map, summed where no scale or tap is named, or a push."""
    if layer == "difference":
        return _difference(_maps(blobs, loss_file, pair), pair, scale, tap)
    slope = _slope(blobs, loss_file, pair)
    picture = gradients.direction(slope) if layer == "direction" else gradients.magnitude(slope)
    return Overlay(picture.peak, picture.png)


@lru_cache(_KEPT_PAIRS)
def _maps(
    blobs: str | Path, loss_file: str, pair: Pair
) -> dict[tuple[int, str], NDArray[np.float32]]:
    loss = open_loss(blobs, loss_file)
    found = differences(loss, to_tensor(pair.image), to_tensor(pair.target))
    return {(scale, each.tap): each.map[0].numpy() for scale, each in found}


@lru_cache(_KEPT_PAIRS)
def _slope(blobs: str | Path, loss_file: str, pair: Pair) -> "Tensor":
    loss = open_loss(blobs, loss_file)
    target = to_tensor(pair.target)
    loss.check_size(*target.shape[2:])
    return gradients.gradient(loss.whole, to_tensor(pair.image), target)


def _difference(
    maps: dict[tuple[int, str], NDArray[np.float32]],
    pair: Pair,
    scale: int | None,
    tap: str | None,
) -> Overlay:
    height, width = pixels(pair.target).shape[:2]
    total = np.zeros((height, width), np.float32)
    covered = np.zeros((height, width), np.bool_)
    for (its_scale, its_tap), values in maps.items():
        if scale in (None, its_scale) and tap in (None, its_tap):
            rows, columns = values.shape  # unpadded convolutions leave out the border
            top, left = (height - rows) // 2, (width - columns) // 2
            place = slice(top, top + rows), slice(left, left + columns)
            total[place] += values
            covered[place] = True
    peak = float(total.max())
    colours = sequential(total / peak if peak > 0 else total)
    opacity = np.where(covered, 255, 0).astype(np.uint8)
    return Overlay(peak, encode(np.dstack([colours, opacity])))
