"""Pairs of a degraded image and its target, made of 8-bit pixels while a restorer is trained."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.distortions import (
    BayerMosaic,
    Distortion,
    GaussianBlur,
    GaussianNoise,
    Jpeg,
    MotionBlur,
    PoissonGaussianNoise,
    SaltAndPepper,
    distort,
)
from services.images.resampling import resize
from services.phase2.recipe import RestorerPlan
from services.phase2.tasks import AnyTask, SuperResolution, factor_of

BLOCK = 16  # px: codecs cut an image into blocks of this side, with the colours at half size
BT601 = (0.299, 0.587, 0.114)  # luminance of RGB

_REACH = 16  # px: of a distortion that is not listed in `_reach`


class Pair(NamedTuple):
    """Images with values in [0, 1] nominally: (C, h, w) and (C, H, W), or batches of them."""

    degraded: Tensor
    target: Tensor


@dataclass(frozen=True)
class Area:
    """A rectangle in an image, px."""

    top: int
    left: int
    height: int
    width: int


class Degradation:
    """What a task does to an image before a network sees it.

    An area of an image is degraded together with what lies around it, so that the codec's blocks
    lie where they lie in the whole image, and blurs and interpolations see real pixels.

    Args:
        task: what is to be undone.
        grey: whether networks see the luminance alone.
        enlarges: whether the network takes the small image of super-resolution as it is.

    Attributes:
        unit: sides and corners of areas are multiples of it, px; the network may ask more of
            sides (`RestorerPlan.multiple`).
    """

    def __init__(self, task: AnyTask, *, grey: bool, enlarges: bool) -> None:
        self._task = task
        self._grey = grey
        self._pipeline = task.pipeline()
        self.unit: int = factor_of(task)
        self._shrinks = self.unit if enlarges else 1
        # How far each step sees, the last first, and the grid that it works on, px.
        if isinstance(task, SuperResolution):
            # No kernel is wider than three pixels of the small image, each way.
            resizings = 2 if self._shrinks < self.unit else 1
            self._steps = [(4 * self.unit, self.unit)] * resizings
        else:
            self._steps = [(_reach(each), _grid(each)) for each in reversed(self._pipeline)]

    @classmethod
    def of(cls, plan: RestorerPlan) -> Self:
        """That of a training."""
        network = plan.network
        return cls(plan.task, grey=network.channels == 1, enlarges=network.scale > 1)

    def centre(self, height: int, width: int, *, most: int, multiple: int) -> Area:
        """The middle of an image, at most `most` px a side, whose sides are multiples."""
        rows, columns = (min(side, most) // multiple * multiple for side in (height, width))
        top, left = (
            (side - kept) // 2 // self.unit * self.unit
            for side, kept in ((height, rows), (width, columns))
        )
        return Area(top, left, rows, columns)

    def pair(self, pixels: NDArray[np.uint8], area: Area, generator: torch.Generator) -> Pair:
        """`area` of the image (H, W, 3) and its degraded version, both on the CPU.

        The parameters of the degradation are drawn from `generator`, for this pair.
        """
        top, bottom = self._around(area.top, area.height, pixels.shape[0])
        left, right = self._around(area.left, area.width, pixels.shape[1])
        window = pixels[top:bottom, left:right].copy()
        if self._grey:
            window = np.repeat(luminance(window)[..., None], 3, axis=2)
        inner = Area(area.top - top, area.left - left, area.height, area.width)
        channels = 1 if self._grey else 3
        target = _cut(_as_tensor(window), inner, 1)
        degraded = _cut(self._degrade(window, generator), inner, self._shrinks)
        return Pair(degraded[:channels], target[:channels])

    def _degrade(self, window: NDArray[np.uint8], generator: torch.Generator) -> Tensor:
        task = self._task
        if not isinstance(task, SuperResolution):
            return distort(_as_tensor(window)[None], self._pipeline, generator)[0]
        height, width = window.shape[:2]
        small = resize(
            window.astype(np.float32), (width // task.factor, height // task.factor), task.kernel
        )
        small = small.clip(0, 255).round()  # as a file would hold it
        if self._shrinks == 1:
            small = resize(small, (width, height), task.interpolation)
        return torch.from_numpy(small).permute(2, 0, 1) / 255

    def _around(self, start: int, length: int, side: int) -> tuple[int, int]:
        """Where the window of `start` … `start + length` in `side` px begins and ends."""
        begin, end = start, start + length
        for reach, grid in self._steps:
            begin = (begin - reach) // grid * grid
            end = -(-(end + reach) // grid) * grid
        # What is done before a codec must leave its blocks where they are.
        coarsest = max((grid for _, grid in self._steps), default=1)
        return max(begin // coarsest * coarsest, 0), min(end, side // self.unit * self.unit)


def luminance(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) of RGB (H, W, 3), by BT.601, rounded."""
    luma: NDArray[np.float64] = pixels @ np.array(BT601)
    return luma.round().astype(np.uint8)


def _as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def _cut(image: Tensor, area: Area, shrinks: int) -> Tensor:
    top, left = area.top // shrinks, area.left // shrinks
    bottom, right = top + area.height // shrinks, left + area.width // shrinks
    return image[:, top:bottom, left:right].contiguous()


def _is_pointwise(distortion: Distortion) -> bool:
    return isinstance(distortion, GaussianNoise | PoissonGaussianNoise | SaltAndPepper)


def _grid(distortion: Distortion) -> int:
    """Side of the squares that a distortion degrades as one, px."""
    match distortion:
        case GaussianBlur() | MotionBlur():
            return 1
        case BayerMosaic():
            return 2
        case _:
            return 1 if _is_pointwise(distortion) else BLOCK


def _reach(distortion: Distortion) -> int:
    """How far beside a pixel its degraded value comes from, px; beyond a codec's blocks."""
    match distortion:
        case _ if _is_pointwise(distortion):
            return 0
        case BayerMosaic():
            return 1
        case GaussianBlur():
            return math.ceil(3 * distortion.sigma[1])
        case MotionBlur():
            return math.ceil((distortion.length[1] - 1) / 2)
        case Jpeg():
            return 2  # colours at half size are interpolated
        case _:
            return _REACH
