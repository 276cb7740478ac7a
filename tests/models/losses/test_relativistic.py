import math

import pytest
import torch

from models.losses import relativistic_discriminator, relativistic_generator


def log_sigmoid(value: float) -> float:
    return -math.log(1 + math.exp(-value))


def test_the_losses_are_the_papers_equations() -> None:
    real, fake = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([-0.5, 0.3, 1.2])
    mean_real, mean_fake = real.mean().item(), fake.mean().item()
    reals = [value - mean_fake for value in real.tolist()]
    fakes = [value - mean_real for value in fake.tolist()]
    # 1 − σ(v) = σ(−v)
    expected = -sum(map(log_sigmoid, reals)) / 3 - sum(log_sigmoid(-v) for v in fakes) / 3
    assert relativistic_discriminator(real, fake).item() == pytest.approx(expected, rel=1e-5)
    expected = -sum(log_sigmoid(-v) for v in reals) / 3 - sum(map(log_sigmoid, fakes)) / 3
    assert relativistic_generator(real, fake).item() == pytest.approx(expected, rel=1e-5)


def test_equal_scores_cost_both_sides_the_same() -> None:
    scores = torch.zeros(4, 1)
    assert relativistic_generator(scores, scores).item() == pytest.approx(2 * math.log(2))
    assert relativistic_discriminator(scores, scores).item() == pytest.approx(2 * math.log(2))


def test_scores_far_apart_stay_finite() -> None:
    real = torch.full((2,), 1e4, requires_grad=True)
    fake = torch.full((2,), -1e4, requires_grad=True)
    value = relativistic_generator(real.detach(), fake)
    value.backward()
    assert value.item() == pytest.approx(4e4)
    assert fake.grad is not None
    assert fake.grad.isfinite().all()
