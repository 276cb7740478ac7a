"""What a restorer is trained to undo: the tasks of Phase 2. Nothing here imports torch."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from services.distortions import BayerMosaic, Distortion, PoissonGaussianNoise
from services.distortions.parameter import Bounds
from services.exact import Exact
from services.images.resampling import Kernel
from services.phase1.recipe import Custom, Denoising, JpegRestoration


class SuperResolution(Exact):
    """Single-image super-resolution: the input is the image, shrunk and rounded to 8 bits.

    A network that enlarges takes the small image. One that does not (`scale` 1, as SRCNN) takes
    it enlarged to the target's size by `interpolation`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sisr"] = "sisr"
    factor: Annotated[
        Literal[2, 3, 4], Field(description="side of the target over the input's")
    ] = 4
    kernel: Annotated[Kernel, Field(description="of the shrinking, anti-aliased")] = "bicubic"
    interpolation: Annotated[
        Kernel, Field(description="of the enlarging, for a network that does not enlarge")
    ] = "bilinear"

    def pipeline(self) -> list[Distortion]:
        """None: shrinking is no distortion of the registry, since it changes the size."""
        return []


class Demosaicking(Exact):
    """Joint denoising and demosaicking (Zhao et al. 2017, section IV-A).

    Sensor noise of variance a·x + b, clipped, then a Bayer mosaic interpolated bilinearly.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["demosaicking"] = "demosaicking"
    a: Annotated[
        tuple[float, float],
        Bounds(0, 1),
        Field(description="variance per unit of the signal in [0, 1]: photon noise"),
    ] = (0.005, 0.005)
    b: Annotated[
        tuple[float, float],
        Bounds(0, 1),
        Field(description="variance of the noise that does not depend on the signal"),
    ] = (0.0001, 0.0001)
    pattern: Annotated[
        Literal["RGGB", "BGGR", "GRBG", "GBRG"],
        Field(description="colours of the upper left 2×2 pixels, row by row"),
    ] = "RGGB"

    def pipeline(self) -> list[Distortion]:
        """The distortions, in order."""
        return [PoissonGaussianNoise(a=self.a, b=self.b), BayerMosaic(pattern=self.pattern)]


AnyTask = Annotated[
    Denoising | JpegRestoration | SuperResolution | Demosaicking | Custom,
    Field(discriminator="kind"),
]


def factor_of(task: AnyTask) -> int:
    """Sides of the target over those of the degraded image before any interpolation."""
    return task.factor if isinstance(task, SuperResolution) else 1
