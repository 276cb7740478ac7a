import math

import pytest
import torch
from torch import Tensor

from models.adversarial import bce, bce_generator, gradient_penalty, wgan_generator, wgan_gp


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def images() -> tuple[Tensor, Tensor]:
    return torch.full((1, 3, 4, 4), 0.8), torch.full((1, 3, 4, 4), -0.2)


def test_wgan_gp_of_a_linear_critic_is_known(generator: torch.Generator) -> None:
    """D(x) = Σ_c g·x_c has the gradient (g, g, g) at every pixel, of norm g√3."""
    real, fake = images()
    g = 0.5
    terms = wgan_gp(lambda x: g * x.sum(1, True), real, fake, weight=0.1, generator=generator)
    assert terms.real.item() == pytest.approx(-g * 3 * 0.8)
    assert terms.fake.item() == pytest.approx(g * 3 * -0.2)
    assert terms.gradient_penalty.item() == pytest.approx(0.1 * (g * math.sqrt(3) - 1) ** 2)


def test_the_penalty_vanishes_for_a_critic_of_slope_one(generator: torch.Generator) -> None:
    real, fake = images()
    penalty = gradient_penalty(lambda x: x.sum(1, True) / 3**0.5, real, fake, generator=generator)
    assert penalty.item() == pytest.approx(0, abs=1e-10)


def test_the_penalty_is_taken_between_the_two_images(generator: torch.Generator) -> None:
    real, fake = images()
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.square().sum(1, True)

    for _ in range(200):
        gradient_penalty(critic, real, fake, generator=generator)
    shares = torch.stack([(x[0, 0, 0, 0] + 0.2) for x in seen])
    assert torch.equal(seen[0], seen[0][:, :1, :1, :1].expand_as(seen[0]))  # one share an image
    assert shares.min() >= 0
    assert shares.max() <= 1
    assert shares.mean().item() == pytest.approx(0.5, abs=0.08)


def test_the_penalty_reaches_the_critics_weights(generator: torch.Generator) -> None:
    weight = torch.tensor(2.0, requires_grad=True)
    real, fake = images()
    gradient_penalty(lambda x: weight * x.sum(1, True), real, fake, generator=generator).backward()
    # d/dw (w√3 − 1)² = 2√3 (w√3 − 1)
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx(2 * 3**0.5 * (2 * 3**0.5 - 1), rel=1e-5)


def test_bce_is_the_cross_entropy_of_the_sigmoid() -> None:
    real, fake = images()
    terms = bce(lambda x: x[:, :1], real, fake)
    assert terms.real.item() == pytest.approx(-math.log(1 / (1 + math.exp(-0.8))), rel=1e-5)
    assert terms.fake.item() == pytest.approx(-math.log(1 - 1 / (1 + math.exp(0.2))), rel=1e-5)
    assert terms.gradient_penalty == 0


def test_the_generators_losses_fall_with_the_critics_favour() -> None:
    poor, good = torch.full((1, 1, 2, 2), -1.0), torch.full((1, 1, 2, 2), 3.0)
    assert wgan_generator(good).item() == -3
    assert bce_generator(poor).item() == pytest.approx(math.log(1 + math.e), rel=1e-5)
    assert bce_generator(good) < bce_generator(poor)
    assert bce_generator(torch.full((1, 1, 2, 2), -200.0)).item() == pytest.approx(200)
