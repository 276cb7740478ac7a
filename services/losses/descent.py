"""Repair by descent: an image whose pixels follow a loss's gradient towards its target.

A descent goes on for a short while at a time, with its state passed in and out, so that others
get their turn in between. `descend` imports torch: it is for `services.workbench`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from services.errors import DivergedError
from services.images.catalogue import pixels
from services.losses.pictures import encode
from services.losses.warm import open_loss

if TYPE_CHECKING:
    from torch import Tensor

Objective = Literal["mdf", "l1", "l2", "ssim"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)

# Weights of the discriminators times pixels, up to which a step takes about a second on two CPU
# cores: 128×128 px for eight scales of the paper's widths, 256×256 px for the preset `quick`.
MAX_OPERATIONS = 1e10
MAX_PIXELS = 256 * 256  # a picture goes to the browser every second
MAX_STEPS = 2000

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8

Planes = NDArray[np.float32]  # (3, H, W) in [0, 1]


@dataclass(frozen=True)
class Descent:
    """How far a descent has come: the image, and what Adam remembers (Kingma and Ba 2015)."""

    target: Planes
    image: Planes
    mean: Planes  # of the gradient
    square: Planes  # mean of the squared gradient
    step: int = 0


@dataclass(frozen=True)
class Point:
    """Value of the objective, and PSNR in dB, after `step` steps."""

    step: int
    value: float
    psnr: float


@dataclass(frozen=True)
class Piece:
    """A piece of a descent: where it has come to, by which points, and the picture there."""

    state: Descent
    points: list[Point]
    png: bytes


def begin(target: bytes, start: bytes | None, *, random_seed: int = 0) -> Descent:
    """A descent towards the picture `target` from the picture `start`, else from white noise."""
    goal = _planes(target)
    noise = np.random.default_rng(random_seed).random(goal.shape, dtype=np.float32)
    nothing = np.zeros_like(goal)
    return Descent(goal, noise if start is None else _planes(start), nothing, nothing)


def descend(
    blobs: str | Path,
    loss_file: str,
    state: Descent,
    *,
    objective: Objective,
    rate: float,
    seconds: float,
    steps: int,
) -> Piece:
    """Go on for about `seconds` or for `steps` steps, at least one, each of `rate` in [0, 1].

    The path does not depend on how it is cut into pieces.
    Raises: DivergedError when the value is no number any more.
    """
    import torch

    value_of = _objective(blobs, loss_file, objective, state.target.shape[1:])
    target, image, mean, square = (
        torch.from_numpy(each.copy())[None]
        for each in (state.target, state.image, state.mean, state.square)
    )
    points: list[Point] = []
    step, end = state.step, time.monotonic() + seconds
    while not points or (time.monotonic() < end and len(points) < steps):
        moving = image.clone().requires_grad_()
        value = value_of(moving, target)
        (slope,) = torch.autograd.grad(value, moving)
        points.append(Point(step, float(value.detach()), psnr(image, target)))
        if not math.isfinite(points[-1].value):
            raise DivergedError(
                f"the value is not finite after {step} steps: take a smaller step than {rate:g}"
            )
        step += 1
        mean = _BETA1 * mean + (1 - _BETA1) * slope
        square = _BETA2 * square + (1 - _BETA2) * slope.square()
        unbiased = mean / (1 - _BETA1**step)
        deviation = (square / (1 - _BETA2**step)).sqrt()
        image = image - rate * unbiased / (deviation + _EPSILON)
    moved, kept, kept_square = (each[0].numpy() for each in (image, mean, square))
    state = replace(state, image=moved, mean=kept, square=kept_square, step=step)
    return Piece(state, points, picture(state))


def picture(state: Descent) -> bytes:
    """The image as it is now, as PNG."""
    shown = np.rint(state.image.clip(0, 1) * 255).astype(np.uint8)
    return encode(np.ascontiguousarray(shown.transpose(1, 2, 0)))


def psnr(image: "Tensor", target: "Tensor") -> float:
    """PSNR of the picture that `image` would be, clipped to [0, 1], dB."""
    from models.metrics.pixelwise import psnr as measure

    return float(measure(image.clamp(0, 1), target))


def _objective(
    blobs: str | Path, loss_file: str, name: Objective, size: tuple[int, ...]
) -> Callable[["Tensor", "Tensor"], "Tensor"]:
    from models.losses import L1, L2, SSIM

    if name == "mdf":
        loss = open_loss(blobs, loss_file)
        loss.check_size(*size)
        return loss.whole
    return {"l1": L1, "l2": L2, "ssim": SSIM}[name]()


def _planes(png: bytes) -> Planes:
    planes: Planes = np.ascontiguousarray(pixels(png).transpose(2, 0, 1), dtype=np.float32)
    planes /= 255
    return planes
