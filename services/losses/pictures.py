"""Colours for what a loss says of an image's pixels.

OpenCV is imported where it is used: what shows the colours' legends does not draw them.
"""

import io

import numpy as np
import PIL.Image
from numpy.typing import NDArray

# A diverging scale, from ColorBrewer's RdBu: told apart with any colour vision.
LOWER = (33, 102, 172)
NEUTRAL = (247, 247, 247)
RAISE = (178, 24, 43)


def sequential(level: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Levels, (H, W) from 0 to 1, as colours from dark to bright, (H, W, 3)."""
    import cv2

    grey = np.rint(level.clip(0, 1) * 255).astype(np.uint8)
    blue_first = cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)
    return np.array(blue_first[:, :, ::-1], np.uint8)


def diverging(level: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Levels, (H, W) from −1 to 1, as colours from blue over white to red, (H, W, 3)."""
    share = level.clip(-1, 1)[:, :, None]
    ends = np.where(share < 0, np.array(LOWER), np.array(RAISE))
    colours = np.array(NEUTRAL) + np.abs(share) * (ends - np.array(NEUTRAL))
    return np.array(np.rint(colours), np.uint8)


def encode(picture: NDArray[np.uint8]) -> bytes:
    """A picture, (H, W, 3) or with opacity (H, W, 4), as PNG."""
    png = io.BytesIO()
    PIL.Image.fromarray(picture).save(png, "PNG", compress_level=2)
    return png.getvalue()
