from typing import Any

import pytest
import torch
from pydantic import ValidationError

from services.distortions import GaussianNoise, Jpeg
from services.distortions.parameter import draw_integer, draw_real


def test_whole_numbers_are_drawn_uniformly_with_both_ends(generator: torch.Generator) -> None:
    drawn = torch.tensor([draw_integer((7, 10), generator) for _ in range(4000)])
    counts = drawn.bincount()[7:]
    assert counts.shape == (4,)
    assert (counts - 1000).abs().max() < 120  # 4.4 standard deviations


def test_reals_are_drawn_uniformly_within_the_range(generator: torch.Generator) -> None:
    drawn = torch.stack([draw_real((10.0, 30.0), generator) for _ in range(4000)])
    assert drawn.min() >= 10
    assert drawn.max() <= 30
    assert drawn.mean().item() == pytest.approx(20, abs=0.4)
    assert drawn.std().item() == pytest.approx(20 / 12**0.5, rel=0.05)


def test_a_fixed_value_is_always_drawn(generator: torch.Generator) -> None:
    assert draw_integer((10, 10), generator) == 10
    assert draw_real((2.5, 2.5), generator) == 2.5


@pytest.mark.parametrize("written", [25.0, [0.0, 55.0]])
def test_parameters_are_written_back_as_they_were_given(written: Any) -> None:
    spec = GaussianNoise.model_validate({"kind": "gaussian_noise", "sigma": written})
    assert spec.model_dump(mode="json")["sigma"] == written
    assert GaussianNoise.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        (-1, "from 0 to 255"),
        (300, "from 0 to 255"),
        ([0, 300], "from 0 to 255"),
        ([20, 10], "low end 20 is above its high end 10"),
        ([1, 2, 3], "pair"),
        ([], "pair"),
        ("much", "a number"),
        (True, "a number"),
        (None, "a number"),
        (float("nan"), "a number"),
        (float("inf"), "a number"),
        (10**400, "a number"),
        ([10**400, 10**401], "a number"),
    ],
)
def test_a_bad_parameter_is_refused_at_its_place(sigma: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        GaussianNoise.model_validate({"kind": "gaussian_noise", "sigma": sigma})
    (error,) = caught.value.errors()
    assert error["loc"] == ("sigma",)
    assert message in error["msg"]


@pytest.mark.parametrize("quality", [0, 101, 7.5, [7, 10.5], [0, 10], [10**400, 1]])
def test_a_quality_is_a_whole_number_from_1_to_100(quality: Any) -> None:
    with pytest.raises(ValidationError, match="whole number from 1 to 100"):
        Jpeg.model_validate({"kind": "jpeg", "quality": quality})


def test_the_json_schema_allows_a_number_or_a_pair() -> None:
    number = {"type": "integer", "minimum": 1, "maximum": 100}
    pair = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
    assert Jpeg.model_json_schema()["properties"]["quality"]["anyOf"] == [number, pair]
