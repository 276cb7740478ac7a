"""Descents on a trained loss: they go down, towards the target, the same way however cut."""

import numpy as np
import pytest
import torch

from services.errors import DivergedError
from services.images.catalogue import pixels
from services.losses import descent
from services.losses.descent import Descent, Objective, Piece


def go(
    small_loss,
    state: Descent,
    steps: int,
    *,
    objective: Objective = "mdf",
    rate: float = 0.03,
) -> Piece:
    return descent.descend(
        small_loss.blobs,
        small_loss.key,
        state,
        objective=objective,
        rate=rate,
        seconds=60,
        steps=steps,
    )


@pytest.mark.parametrize("objective", descent.OBJECTIVES)
def test_from_noise_the_value_falls_and_psnr_rises(
    small_loss, photograph: bytes, objective: Objective
) -> None:
    piece = go(small_loss, descent.begin(photograph, None), 80, objective=objective)
    first, last = piece.points[0], piece.points[-1]
    assert [point.step for point in piece.points] == list(range(80))
    assert last.value < 0.3 * first.value
    assert last.psnr > first.psnr + 4
    restored, target = pixels(piece.png).astype(float), pixels(photograph)
    mse = np.square(restored - target).mean()
    assert 10 * np.log10(255**2 / mse) == pytest.approx(last.psnr, abs=0.5)


def test_the_first_value_is_the_losss_of_the_start(small_loss, photograph: bytes, noisy) -> None:
    start = noisy(30)
    piece = go(small_loss, descent.begin(photograph, start), 1)
    images = [
        torch.from_numpy(pixels(each).copy()).permute(2, 0, 1)[None] / 255
        for each in (start, photograph)
    ]
    assert piece.points[0].value == pytest.approx(float(small_loss.loss(*images)), rel=1e-5)


def test_a_descent_goes_as_adam_does(small_loss, photograph: bytes, noisy) -> None:
    state = descent.begin(photograph, noisy(30))
    image = torch.from_numpy(state.image.copy())[None].requires_grad_()
    target = torch.from_numpy(state.target)[None]
    adam = torch.optim.Adam([image], lr=0.03)
    for _ in range(10):
        adam.zero_grad()
        small_loss.loss(image, target).backward()
        adam.step()
    moved = go(small_loss, state, 10).state.image
    np.testing.assert_allclose(moved, image.detach()[0].numpy(), atol=2e-3)


def test_pieces_make_the_same_way_as_the_whole(small_loss, photograph: bytes) -> None:
    whole = go(small_loss, descent.begin(photograph, None), 9)
    first = go(small_loss, descent.begin(photograph, None), 4)
    second = go(small_loss, first.state, 5)
    assert first.points + second.points == whole.points
    np.testing.assert_array_equal(second.state.image, whole.state.image)


def test_the_target_stays_where_it_is(small_loss, photograph: bytes) -> None:
    piece = go(small_loss, descent.begin(photograph, photograph), 3)
    assert {point.value for point in piece.points} == {0.0}
    np.testing.assert_array_equal(pixels(piece.png), pixels(photograph))


def test_a_piece_ends_with_its_time(small_loss, photograph: bytes) -> None:
    state = descent.begin(photograph, None)
    piece = descent.descend(
        small_loss.blobs, small_loss.key, state, objective="l2", rate=0.01, seconds=0, steps=100
    )
    assert len(piece.points) == piece.state.step == 1


def test_a_value_that_is_no_number_ends_it(small_loss, photograph: bytes) -> None:
    state = descent.begin(photograph, None)
    with pytest.raises(DivergedError, match="take a smaller step than 1e\\+30"):
        go(small_loss, state, 20, rate=1e30)
