"""Which images of a data set are measured."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.datasets.picture import Picture
from services.errors import BadInputError
from services.evaluation.selection import common_multiple, select, smallest_side
from services.phase2 import holdout
from services.phase2.tasks import SuperResolution
from services.restorers.networks import NETWORK

Manifest = dict[str, Any]


def picture(number: int, side: int = 64) -> Picture:
    return Picture(f"{number}.png", f"{number * 7919 % 997:064x}", side, side, lambda: np.zeros(0))


PICTURES = [picture(number) for number in range(20)]


@pytest.fixture
def trained() -> Callable[[float], Manifest]:
    """The manifest of a model that was trained on these pictures, but for a share."""

    def train(share: float) -> Manifest:
        _, held_out = holdout.split(PICTURES, share)
        dataset: Manifest = {"digest": holdout.digest(PICTURES), "images": len(PICTURES)}
        if held_out:
            dataset |= {
                "validation_digest": holdout.digest(held_out),
                "validation_images": len(held_out),
            }
        return {"dataset": dataset}

    return train


def names(pictures: list[tuple[int, Picture]]) -> list[str]:
    return [each.name for _, each in pictures]


def test_models_of_other_images_are_measured_on_all() -> None:
    chosen = select(PICTURES, {"a": {"dataset": {}}}, smallest=1, most=100)
    assert names(chosen.pictures) == [each.name for each in PICTURES]
    assert [place for place, _ in chosen.pictures] == list(range(20))
    assert not chosen.held_out
    assert chosen.trained_on == []


def test_models_of_these_images_are_measured_on_what_their_trainings_held_out(trained) -> None:
    models = {"a": trained(0.3), "b": trained(0.1), "c": {"dataset": {}}}
    chosen = select(PICTURES, models, smallest=1, most=100)
    _, held_out = holdout.split(PICTURES, 0.1)
    assert names(chosen.pictures) == [each.name for each in held_out]
    assert chosen.held_out
    assert chosen.trained_on == []


def test_a_model_whose_training_held_out_nothing_is_told(trained) -> None:
    chosen = select(PICTURES, {"a": trained(0), "b": trained(0.2)}, smallest=1, most=100)
    assert len(chosen.pictures) == 4
    assert chosen.trained_on == ["a"]
    alone = select(PICTURES, {"a": trained(0)}, smallest=1, most=100)
    assert len(alone.pictures) == 20
    assert not alone.held_out


def test_some_are_evenly_spread() -> None:
    chosen = select(PICTURES, {}, smallest=1, most=3)
    assert [place for place, _ in chosen.pictures] == [0, 10, 19]
    assert len(select(PICTURES, {}, smallest=1, most=1).pictures) == 1


def test_images_that_are_too_small_are_left_out() -> None:
    mixed = [picture(1, 40), picture(2, 64), picture(3, 20)]
    assert names(select(mixed, {}, smallest=41, most=9).pictures) == ["2.png"]
    with pytest.raises(BadInputError, match=r"none of the 3 images is 65 px .* largest has 64 px"):
        select(mixed, {}, smallest=65, most=9)


def test_sides_suit_every_network_and_metric() -> None:
    networks = [
        NETWORK.validate_python({"kind": "edsr", "scale": 3}),
        NETWORK.validate_python({"kind": "srcnn"}),
    ]
    multiple = common_multiple(SuperResolution(factor=3), networks)
    assert multiple == 3
    # Of 13 px, 12 are left, which is enough for 11.
    assert smallest_side([1, 11], multiple) == 13
    assert smallest_side([], 1) == 1
