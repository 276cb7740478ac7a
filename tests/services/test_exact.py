"""JSON taken as it is: nothing is turned into a number or a truth value."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from services.exact import Exact


class Part(Exact):
    kind: Literal["part"] = "part"
    count: Annotated[int, Field(ge=0)] = 3
    bounds: tuple[float, float] = (1.0, 2.0)


class Other(Exact):
    kind: Literal["other"] = "other"
    wanted: bool = False


class Whole(Exact):
    priority: Annotated[int, Field(le=100)] | None = None
    part: Annotated[Part | Other, Field(discriminator="kind")] = Part()
    named: dict[str, Part] = {}


class Child(Whole):
    factor: float | Literal["auto"] = "auto"


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"priority": True}, ("priority",)),
        ({"priority": "5"}, ("priority",)),
        ({"priority": 1.5}, ("priority",)),
        ({"factor": False}, ("factor",)),
        ({"factor": "2"}, ("factor",)),
        ({"part": {"kind": "part", "count": False}}, ("part", "part", "count")),
        ({"part": {"kind": "part", "bounds": [True, 1]}}, ("part", "part", "bounds", 0)),
        ({"part": {"kind": "other", "wanted": 1}}, ("part", "other", "wanted")),
        ({"part": {"kind": "other", "wanted": "yes"}}, ("part", "other", "wanted")),
        ({"named": {"x": {"count": "3"}}}, ("named", "x", "count")),
    ],
)
def test_nothing_passes_for_another_kind(given: dict[str, Any], where: tuple[Any, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        Child.model_validate(given)
    assert caught.value.errors()[0]["loc"][: len(where)] == where


def test_numbers_of_whole_value_are_whole_numbers() -> None:
    taken = Child.model_validate({"priority": 5.0, "part": {"kind": "part", "bounds": [1, 2]}})
    assert taken.priority == 5
    assert taken.part == Part(bounds=(1.0, 2.0))
    assert Child.model_validate({"factor": 2}).factor == 2.0


def test_the_json_schema_is_pydantics_own() -> None:
    assert Whole.model_json_schema()["properties"]["priority"]["anyOf"] == [
        {"type": "integer", "maximum": 100},
        {"type": "null"},
    ]
