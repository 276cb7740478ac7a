"""The gradient and its pictures, held to autograd and to the pixels."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from services.losses import gradients, pictures
from services.losses.comparison import to_tensor
from services.losses.playground import Pair, overlay


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png))).astype(float)


def pushes(png: bytes) -> np.ndarray:
    """The levels, −1 to 1, whose colours those are."""
    colours = decoded(png)
    neutral = np.array(pictures.NEUTRAL, float)
    lower, raised = (np.array(each) - neutral for each in (pictures.LOWER, pictures.RAISE))
    # Red falls all the way to the blue end, blue to the red end.
    blue = (colours[..., 0] - neutral[0]) / lower[0]
    red = (colours[..., 2] - neutral[2]) / raised[2]
    return np.where(blue > red, -blue, red)


@pytest.fixture
def pair(photograph, noisy) -> Pair:
    return Pair(noisy(25), photograph)


@pytest.fixture
def autograds(small_loss, pair: Pair) -> torch.Tensor:
    """The derivative by plain autograd through the terms."""
    moved = to_tensor(pair.image).requires_grad_()
    small_loss.loss.terms(moved, to_tensor(pair.target)).sum().backward()
    assert moved.grad is not None
    return moved.grad


def test_the_gradient_is_autograds(small_loss, pair: Pair, autograds: torch.Tensor) -> None:
    slope = gradients.gradient(small_loss.loss, to_tensor(pair.image), to_tensor(pair.target))
    torch.testing.assert_close(slope, autograds, rtol=1e-3, atol=1e-3 * float(autograds.norm()))
    assert float(autograds.norm()) > 0


def test_the_picture_shows_which_way_descent_goes_and_how_far(
    small_loss, pair: Pair, autograds: torch.Tensor
) -> None:
    shown = overlay(small_loss.blobs, small_loss.key, pair, "direction")
    push = -autograds[0].sum(0).numpy()
    expected = np.clip(push / shown.peak, -1, 1)
    np.testing.assert_allclose(pushes(shown.png), expected, atol=0.02)
    beyond = (np.abs(push) > shown.peak).mean()
    assert 0 < beyond <= 0.0055
    assert (push > 0).any()
    assert (push < 0).any()


def test_the_other_picture_shows_how_strongly(
    small_loss, pair: Pair, autograds: torch.Tensor
) -> None:
    shown = overlay(small_loss.blobs, small_loss.key, pair, "magnitude")
    strength = autograds[0].norm(dim=0).numpy()
    level = np.rint(np.clip(strength / shown.peak, 0, 1) * 255)
    expected = pictures.sequential(level / 255)
    np.testing.assert_allclose(decoded(shown.png), expected, atol=4)


def test_a_step_along_the_picture_lowers_the_loss(
    small_loss, pair: Pair, autograds: torch.Tensor
) -> None:
    image, target = to_tensor(pair.image), to_tensor(pair.target)
    before = float(small_loss.loss(image, target))
    after = float(small_loss.loss(image - 0.01 * autograds.sign(), target))
    assert after < before


def test_equal_images_are_not_pushed(small_loss, photograph: bytes) -> None:
    same = Pair(photograph, photograph)
    shown = overlay(small_loss.blobs, small_loss.key, same, "direction")
    assert (decoded(shown.png) == pictures.NEUTRAL).all()
