"""What two batches of images must be to be compared, and in which precision they are compared."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from models.errors import ShapeError


def check_pair(
    x: Tensor, y: Tensor, *, name: str, smallest_side: int = 1, channels: tuple[int, ...] = ()
) -> None:
    """Raise ShapeError if `name` cannot compare the images.

    Args:
        x, y: (N, C, H, W).
        name: of the loss or metric, for the message.
        smallest_side: that it takes, px.
        channels: that it takes; empty: any number.
    """
    if x.shape != y.shape:
        raise ShapeError(
            f"{name}: the images are {tuple(x.shape)} and {tuple(y.shape)}; they must have the "
            "same shape"
        )
    if x.ndim != 4 or 0 in x.shape:
        raise ShapeError(f"{name}: the images are {tuple(x.shape)}; they must be (N, C, H, W)")
    if channels and x.shape[1] not in channels:
        allowed = " or ".join(map(str, channels))
        raise ShapeError(
            f"{name}: the images have {x.shape[1]} channels ({tuple(x.shape)}); {allowed} are "
            "allowed"
        )
    height, width = x.shape[2:]
    if min(height, width) < smallest_side:
        raise ShapeError(
            f"{name}: the images are {height} × {width} pixels; at least {smallest_side} on each "
            "side are needed"
        )
    for image in (x, y):
        if not image.is_floating_point():
            raise ShapeError(
                f"{name}: the images are {image.dtype}; they must be floating-point numbers in "
                "[0, 1]"
            )


@contextmanager
def full_precision(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The images in float32 or float64, outside of the caller's autocast region.

    Variances as a difference of squares, and differences of near neighbours, are noise in
    half precision.
    """
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        yield x.to(dtype), y.to(dtype)
