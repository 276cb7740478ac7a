"""Lossy codecs, the real ones: JPEG and WebP by OpenCV (libjpeg-turbo, libwebp)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from services.distortions.distortion import Distortion
from services.distortions.parameter import Bounds, draw_integer

if TYPE_CHECKING:
    from torch import Generator, Tensor


class Jpeg(Distortion):
    """Baseline JPEG with 4:2:0 chroma, encoded and decoded; values are clipped to [0, 1]."""

    kind: Literal["jpeg"] = "jpeg"
    quality: Annotated[
        tuple[int, int], Bounds(1, 100), Field(description="libjpeg quality, 1 (worst) to 100")
    ]

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Compress each image of the batch at one drawn quality."""
        import cv2

        quality = draw_integer(self.quality, generator)
        sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
        return _through_codec(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality, *sampling])


class WebP(Distortion):
    """Lossy WebP, encoded and decoded; values are clipped to [0, 1]."""

    kind: Literal["webp"] = "webp"
    quality: Annotated[
        tuple[int, int], Bounds(1, 100), Field(description="libwebp quality, 1 (worst) to 100")
    ]

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Compress each image of the batch at one drawn quality."""
        import cv2

        quality = draw_integer(self.quality, generator)
        return _through_codec(image, ".webp", [cv2.IMWRITE_WEBP_QUALITY, quality])


def _through_codec(image: Tensor, extension: str, options: list[int]) -> Tensor:
    import cv2
    import numpy as np
    import torch

    pixels = (image.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    decoded = np.empty_like(pixels, order="C")
    for index, rgb in enumerate(pixels):
        _, encoded = cv2.imencode(extension, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
        decoded[index] = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
    restored = torch.from_numpy(decoded).to(image.device).permute(0, 3, 1, 2)
    return restored.to(image.dtype) / 255
