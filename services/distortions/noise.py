"""Noise: Gaussian, Poisson–Gaussian (Foi et al. 2008) and salt-and-pepper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from services.distortions.distortion import Distortion
from services.distortions.parameter import Bounds, draw_real

if TYPE_CHECKING:
    from torch import Generator, Tensor


class GaussianNoise(Distortion):
    """Additive white Gaussian noise, not clipped: the denoiser sees the noise as it is."""

    kind: Literal["gaussian_noise"] = "gaussian_noise"
    sigma: Annotated[
        tuple[float, float],
        Bounds(0, 255),
        Field(description="standard deviation on the 0–255 scale"),
    ]

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Add noise of one drawn σ to every pixel and channel."""
        sigma = draw_real(self.sigma, generator) / 255
        return image + sigma * _white_noise(image, generator)


class PoissonGaussianNoise(Distortion):
    """Sensor noise of variance a·x + b, clipped to [0, 1] (Foi et al. 2008)."""

    kind: Literal["poisson_gaussian_noise"] = "poisson_gaussian_noise"
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

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Add noise whose standard deviation is √(a·x + b), then clip."""
        signal = image.clamp(0, 1)
        a, b = draw_real(self.a, generator), draw_real(self.b, generator)
        noise = (a * signal + b).sqrt() * _white_noise(image, generator)
        return (signal + noise).clamp(0, 1)


class SaltAndPepper(Distortion):
    """Pixels replaced by white or black, each with half the amount, all channels together."""

    kind: Literal["salt_and_pepper"] = "salt_and_pepper"
    amount: Annotated[
        tuple[float, float], Bounds(0, 1), Field(description="share of the pixels replaced, 0–1")
    ]

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Replace pixels by 0 or 1."""
        import torch

        amount = draw_real(self.amount, generator)
        draw = torch.rand(
            image[:, :1].shape, generator=generator, device=image.device, dtype=image.dtype
        )
        salted = torch.where(draw < amount / 2, 1.0, image)
        return torch.where((draw >= amount / 2) & (draw < amount), 0.0, salted)


def _white_noise(image: Tensor, generator: Generator) -> Tensor:
    import torch

    return torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
