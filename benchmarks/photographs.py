"""Photographs in folders, for benchmarks of restorers."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from services.datasets.picture import Picture
from services.images.decoding import pixel_digest

SUFFIXES = {".bmp", ".jpg", ".png"}


def pictures(folder: Path) -> list[Picture]:
    """The photographs in `folder`, in the order of their names."""
    files = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES)
    if not files:
        raise SystemExit(f"there are no photographs in {folder}")
    return [_picture(file) for file in files]


def machine() -> str:
    """What is measured on."""
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads, {os.cpu_count()} cores"


def _picture(file: Path) -> Picture:
    pixels = _pixels(file)
    height, width = pixels.shape[:2]
    read: Callable[[], np.ndarray] = lambda: _pixels(file)  # noqa: E731 - typed
    return Picture(file.name, pixel_digest(width, height, pixels.tobytes()), width, height, read)


@cache
def _pixels(file: Path) -> np.ndarray:
    return np.array(Image.open(file).convert("RGB"))
