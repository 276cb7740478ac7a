"""Distortions: how a task degrades an image. Another one is one small class and a name below.

The specifications validate without torch; `apply` imports what it needs.
"""

from typing import Annotated

from pydantic import Field

from services.distortions.blur import GaussianBlur, MotionBlur
from services.distortions.compression import Jpeg, WebP
from services.distortions.distortion import Distortion, distort
from services.distortions.mosaic import BayerMosaic
from services.distortions.noise import GaussianNoise, PoissonGaussianNoise, SaltAndPepper
from services.distortions.scaling import Rescale

AnyDistortion = Annotated[
    GaussianNoise
    | PoissonGaussianNoise
    | SaltAndPepper
    | Jpeg
    | WebP
    | GaussianBlur
    | MotionBlur
    | Rescale
    | BayerMosaic,
    Field(discriminator="kind"),
]

__all__ = [
    "AnyDistortion",
    "BayerMosaic",
    "Distortion",
    "GaussianBlur",
    "GaussianNoise",
    "Jpeg",
    "MotionBlur",
    "PoissonGaussianNoise",
    "Rescale",
    "SaltAndPepper",
    "WebP",
    "distort",
]
