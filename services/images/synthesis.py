"""Synthetic seed images (Mustafa et al. 2022, section 5 and figure 7)."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from services.errors import BadInputError, Problem
from services.exact import Exact
from services.images.resampling import resize

Pixels = NDArray[np.uint8]

_SMALLEST_LEVEL = 8  # shorter side at which a Laplacian pyramid ends, px


class _Synthesis(Exact):
    model_config = ConfigDict(frozen=True, extra="forbid")

    random_seed: Annotated[
        int, Field(ge=0, le=2**53 - 1, description="the same seed gives the same image")
    ] = 0


class _Sized(_Synthesis):
    width: Annotated[int, Field(ge=32, le=4096, description="px")] = 512
    height: Annotated[int, Field(ge=32, le=4096, description="px")] = 512


class PinkNoise(_Sized):
    """Noise of power 1/f², as natural images have it; each channel drawn by itself."""

    kind: Literal["pink-noise"] = "pink-noise"

    def draw(self) -> Pixels:
        """Shape the spectrum of white noise, then give it mean 0.5 and deviation 0.18."""
        random = np.random.default_rng(self.random_seed)
        vertical = np.fft.fftfreq(self.height)[:, None, None]
        horizontal = np.fft.rfftfreq(self.width)[None, :, None]
        frequency = np.hypot(vertical, horizontal)
        frequency[0, 0] = np.inf  # no constant part
        white = np.fft.rfft2(random.standard_normal((self.height, self.width, 3)), axes=(0, 1))
        pink = np.fft.irfft2(white / frequency, s=(self.height, self.width), axes=(0, 1))
        return _eight_bit(0.5 + 0.18 * pink / pink.std(axis=(0, 1)))


class ContrastRings(_Sized):
    """Concentric rings whose contrast falls from the border, where it is 1, to 0 in the centre."""

    kind: Literal["contrast-rings"] = "contrast-rings"
    period: Annotated[float, Field(ge=2, le=1024, description="width of a ring pair, px")] = 16

    def draw(self) -> Pixels:
        """Rings with sharp edges, smoothed over one pixel so that they do not alias."""
        y = np.arange(self.height)[:, None] - (self.height - 1) / 2
        x = np.arange(self.width)[None, :] - (self.width - 1) / 2
        radius = np.hypot(y, x)
        edge = self.period / np.pi * np.sin(2 * np.pi * radius / self.period)
        contrast = (radius / (min(self.height, self.width) / 2)).clip(0, 1)
        grey = 0.5 + 0.5 * contrast * edge.clip(-1, 1)
        return _eight_bit(np.repeat(grey[..., None], 3, axis=2))


class PyramidPermutation(_Synthesis):
    """A photograph whose pixels change places on each level of its Laplacian pyramid.

    The spatial spectrum stays roughly what it was; what the image shows is gone.
    """

    kind: Literal["pyramid-permutation"] = "pyramid-permutation"
    image_id: Annotated[
        str, Field(min_length=1, description="the image whose pixels change places")
    ]

    def draw(self, source: Pixels) -> Pixels:
        """Permute the pixels of `source`, (H, W, 3), level by level, and add the levels up."""
        random = np.random.default_rng(self.random_seed)
        levels = laplacian_pyramid(source.astype(np.float32) / np.float32(255))
        *finer, image = [
            random.permutation(level.reshape(-1, 3)).reshape(level.shape) for level in levels
        ]
        for level in reversed(finer):
            height, width = level.shape[:2]
            image = level + resize(image, (width, height), "bilinear")
        return _eight_bit(image)


Synthesis = Annotated[PinkNoise | ContrastRings | PyramidPermutation, Field(discriminator="kind")]


def synthesise(
    spec: PinkNoise | ContrastRings | PyramidPermutation, source: Pixels | None = None
) -> Pixels:
    """The image that `spec` describes, (H, W, 3); a permutation needs the `source` to permute."""
    if not isinstance(spec, PyramidPermutation):
        return spec.draw()
    if source is None:
        message = "pyramid-permutation needs a source image"
        raise BadInputError(message, problems=(Problem("", message),))
    return spec.draw(source)


def laplacian_pyramid(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Levels, finest first, that add up to `image` when each is enlarged to the one before it."""
    levels = []
    while min(image.shape[:2]) >= 2 * _SMALLEST_LEVEL:
        height, width = image.shape[:2]
        smaller = resize(image, (width // 2, height // 2), "bilinear")
        levels.append(image - resize(smaller, (width, height), "bilinear"))
        image = smaller
    return [*levels, image]


def _eight_bit(image: NDArray[np.floating]) -> Pixels:
    return (image * 255).round().clip(0, 255).astype(np.uint8)
