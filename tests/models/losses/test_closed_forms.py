"""Gradients against the closed forms of Zhao et al. 2017, supplement, equations 5 to 13.

The forms are written out here for one position p at a time, in NumPy, and summed over the
positions; nothing is shared with the losses but the images.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.losses import MSSSIM, SSIM, Mix

Plane = NDArray[np.float64]

C1, C2 = 0.01**2, 0.03**2
SIGMAS = (0.5, 1, 2, 4, 8)


def gaussian(sigma: float, side: int) -> Plane:
    """G of one position over its patch, (side, side), cut at the patch and summing to one."""
    offsets = np.arange(side) - side // 2
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * sigma**2))
    return weights / weights.sum()


def l_and_cs(x: Plane, y: Plane, G: Plane) -> tuple[float, Plane, float, Plane]:
    """l and cs at the patch's centre and their derivatives by every pixel of x (eqs. 5 to 9)."""
    mu_x, mu_y = (G * x).sum(), (G * y).sum()
    var_x, var_y = (G * x * x).sum() - mu_x**2, (G * y * y).sum() - mu_y**2
    cov = (G * x * y).sum() - mu_x * mu_y
    l = (2 * mu_x * mu_y + C1) / (mu_x**2 + mu_y**2 + C1)  # noqa: E741 - the paper's name
    cs = (2 * cov + C2) / (var_x + var_y + C2)
    dl = 2 * G * (mu_y - mu_x * l) / (mu_x**2 + mu_y**2 + C1)
    dcs = 2 / (var_x + var_y + C2) * G * ((y - mu_y) - cs * (x - mu_x))
    return l, dl, cs, dcs


def ssim_at(x: Plane, y: Plane, sigma: float) -> tuple[float, Plane]:
    """SSIM at the patch's centre and its derivative (eq. 10)."""
    l, dl, cs, dcs = l_and_cs(x, y, gaussian(sigma, len(x)))  # noqa: E741
    return l * cs, dl * cs + l * dcs


def ms_ssim_at(x: Plane, y: Plane, sigmas: Sequence[float]) -> tuple[float, Plane]:
    """MS-SSIM at the patch's centre and its derivative (eqs. 11 and 13)."""
    scales = [l_and_cs(x, y, gaussian(sigma, len(x))) for sigma in sigmas]
    l, dl = scales[-1][:2]  # noqa: E741
    product = np.prod([cs for _, _, cs, _ in scales])
    inner = sum(dcs / cs for _, _, cs, dcs in scales)
    return float(l * product), (dl + l * inner) * product


def mix_at(x: Plane, y: Plane, alpha: float) -> tuple[float, Plane]:
    """Mix at the patch's centre and its derivative (eq. 14)."""
    similarity, derivative = ms_ssim_at(x, y, SIGMAS)
    G = gaussian(SIGMAS[-1], len(x))
    value = alpha * (1 - similarity) + (1 - alpha) * (G * np.abs(x - y)).sum()
    return value, -alpha * derivative + (1 - alpha) * G * np.sign(x - y)


def over_all_positions(
    x: Tensor, y: Tensor, side: int, at: Callable[[Plane, Plane], tuple[float, Plane]]
) -> tuple[float, Tensor]:
    """Mean over images, channels and positions of a value at a patch's centre, and its gradient."""
    total, gradient, count = 0.0, np.zeros(x.shape), 0
    for n, c in np.ndindex(*x.shape[:2]):
        image, target = x[n, c].numpy(), y[n, c].numpy()
        for i, j in np.ndindex(*(extent - side + 1 for extent in image.shape)):
            patch = np.s_[i : i + side, j : j + side]
            value, derivative = at(image[patch], target[patch])
            total += value
            gradient[n, c][patch] += derivative
            count += 1
    return total / count, torch.from_numpy(gradient / count)


def value_and_gradient(loss: nn.Module, x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    leaf = x.clone().requires_grad_()
    value = loss(leaf, y)
    value.backward()
    assert leaf.grad is not None
    return value.item(), leaf.grad


def assert_equal(found: tuple[float, Tensor], expected: tuple[float, Tensor]) -> None:
    assert found[0] == pytest.approx(expected[0], abs=1e-9)
    # Against the largest slope: a loss over many pixels has small ones.
    assert (found[1] - expected[1]).abs().max() <= 1e-6 * expected[1].abs().max()


@pytest.mark.parametrize(("sigma", "side"), [(1.5, 11), (5, 15), (0.8, 7)])
def test_the_gradient_of_ssim_is_the_papers(
    random_pair: Callable[..., tuple[Tensor, Tensor]], sigma: float, side: int
) -> None:
    x, y = random_pair(2, 3, side + 6, side + 4)
    value, gradient = over_all_positions(x, y, side, lambda a, b: ssim_at(a, b, sigma))
    found = value_and_gradient(SSIM(sigma=sigma, window=side), x, y)
    assert_equal(found, (1 - value, -gradient))


def test_the_gradient_of_ms_ssim_at_the_centre_of_the_papers_patch_is_the_papers(
    random_pair: Callable[..., tuple[Tensor, Tensor]],
) -> None:
    x, y = random_pair(2, 3, 31, 31)
    value, gradient = over_all_positions(x, y, 31, lambda a, b: ms_ssim_at(a, b, SIGMAS))
    assert_equal(value_and_gradient(MSSSIM(), x, y), (1 - value, -gradient))


@pytest.mark.parametrize("side", [31, 33, 21])
def test_the_gradient_of_ms_ssim_on_larger_patches_is_the_mean_over_positions(
    random_pair: Callable[..., tuple[Tensor, Tensor]], side: int
) -> None:
    x, y = random_pair(1, 2, side + 3, side + 5, noise=0.05)
    value, gradient = over_all_positions(x, y, side, lambda a, b: ms_ssim_at(a, b, SIGMAS))
    assert_equal(value_and_gradient(MSSSIM(window=side), x, y), (1 - value, -gradient))


@pytest.mark.parametrize("alpha", [0.84, 0.025, 0.0, 1.0])
@pytest.mark.parametrize("extra", [0, 4])
def test_the_gradient_of_mix_is_the_papers(
    random_pair: Callable[..., tuple[Tensor, Tensor]], alpha: float, extra: int
) -> None:
    x, y = random_pair(1, 3, 31 + extra, 31 + extra)
    expected = over_all_positions(x, y, 31, lambda a, b: mix_at(a, b, alpha))
    assert_equal(value_and_gradient(Mix(alpha=alpha), x, y), expected)


@pytest.mark.parametrize("loss", [SSIM(), MSSSIM(), Mix()], ids=lambda loss: loss.name)
def test_the_gradient_in_single_precision_is_near_the_closed_form(
    random_pair: Callable[..., tuple[Tensor, Tensor]], loss: nn.Module
) -> None:
    x, y = random_pair(1, 3, 35, 35)
    value, gradient = value_and_gradient(loss, x, y)
    single_value, single_gradient = value_and_gradient(loss, x.float(), y.float())
    assert single_value == pytest.approx(value, abs=1e-6)
    assert (single_gradient - gradient).abs().max() < 1e-5 * gradient.abs().max()
