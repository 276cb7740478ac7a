import pytest
import torch
from torch import Tensor

from services.distortions import GaussianNoise, PoissonGaussianNoise, SaltAndPepper


def grey(level: float) -> Tensor:
    return torch.full((1, 3, 256, 256), level, dtype=torch.float64)


@pytest.mark.parametrize("sigma", [5, 25, 55])
def test_gaussian_noise_has_the_standard_deviation_asked_for(
    sigma: float, generator: torch.Generator
) -> None:
    noise = (GaussianNoise(sigma=sigma).apply(grey(0.5), generator) - 0.5) * 255
    assert noise.std().item() == pytest.approx(sigma, rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=sigma * 0.01)


def test_gaussian_noise_is_gaussian_white_and_unclipped(generator: torch.Generator) -> None:
    noise = GaussianNoise(sigma=25).apply(grey(1.0), generator) - 1
    unit = noise / noise.std()
    assert (unit**4).mean().item() == pytest.approx(3, abs=0.05)
    assert (noise > 0).double().mean().item() == pytest.approx(0.5, abs=0.01)
    assert (unit[..., 1:] * unit[..., :-1]).mean().abs() < 0.01
    assert (unit[:, 0] * unit[:, 1]).mean().abs() < 0.01


def test_sigma_is_drawn_anew_at_every_call(generator: torch.Generator) -> None:
    noise = GaussianNoise(sigma=[0, 55])
    deviations = torch.stack(
        [noise.apply(grey(0.5)[..., :64, :64], generator).std() * 255 for _ in range(300)]
    )
    assert deviations.mean().item() == pytest.approx(27.5, abs=3)
    assert deviations.min() < 3
    assert deviations.max() > 52


@pytest.mark.parametrize("level", [0.2, 0.5, 0.8])
def test_sensor_noise_has_variance_ax_plus_b(level: float, generator: torch.Generator) -> None:
    a, b = 0.005, 0.0001
    noisy = PoissonGaussianNoise(a=a, b=b).apply(grey(level), generator)
    assert noisy.var().item() == pytest.approx(a * level + b, rel=0.02)


def test_sensor_noise_is_clipped(generator: torch.Generator) -> None:
    noisy = PoissonGaussianNoise(a=0.01, b=0.01).apply(grey(1.0), generator)
    assert noisy.max() == 1
    assert (noisy == 1).double().mean().item() == pytest.approx(0.5, abs=0.01)


def test_salt_and_pepper_replaces_the_share_of_pixels_asked_for(
    generator: torch.Generator,
) -> None:
    spotted = SaltAndPepper(amount=0.1).apply(grey(0.5), generator)
    assert (spotted == 1).double().mean().item() == pytest.approx(0.05, abs=0.004)
    assert (spotted == 0).double().mean().item() == pytest.approx(0.05, abs=0.004)
    assert torch.equal(spotted[:, 0], spotted[:, 2])  # a pixel in all its channels
