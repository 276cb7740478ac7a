"""The fields that a form makes of a model, and its values in and out."""

from typing import Any

import pytest
from pydantic import ValidationError

from api.studio.elements.schema_form import Field, fields_of, flat, label, merged, nested, placed
from services.phase1.recipe import PRESETS, Recipe
from services.phase2.hyperparameters import RestorationRecipe

PAPER = PRESETS["paper"].model_dump(mode="json")
RESTORER = RestorationRecipe(iterations=100).model_dump(mode="json")


def by_key(fields: list[Field]) -> dict[str, Field]:
    return {each.key: each for each in fields}


def faults(fields: list[Field], model: type[Recipe | RestorationRecipe], values: Any) -> Any:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(values)
    return dict(placed(fields, each["loc"], each["msg"]) for each in caught.value.errors()[:1])


def test_every_hyperparameter_of_the_first_phase_has_a_field() -> None:
    fields = fields_of(Recipe, PAPER)
    assert [each.key for each in fields] == list(Recipe.model_fields)
    assert all(each.help for each in fields)


def test_a_number_has_its_limits_its_unit_and_the_words_that_may_stand_for_it() -> None:
    fields = by_key(fields_of(Recipe, PAPER))
    factor = fields["factor"]
    assert (factor.kind, factor.least, factor.most, factor.words) == ("number", 1.05, 4, ("auto",))
    size = fields["max_size"]
    assert (size.least, size.most, size.step, size.words, size.unit) == (16, 8192, 1, (None,), "px")
    assert fields["learning_rate"].step == pytest.approx(1e-4)


def test_each_kind_of_a_part_has_fields_that_are_there_with_it_alone() -> None:
    fields = by_key(fields_of(RestorationRecipe, RESTORER))
    assert fields["optimiser.kind"].options == ("adam", "adamw", "sgd")
    assert fields["optimiser.sgd.momentum"].when == {"optimiser.kind": "sgd"}
    assert fields["optimiser.adamw.weight_decay"].default == 0.01
    assert fields["adversary.width"].when == {}
    assert fields["validation_metrics"].kind == "choices"
    assert fields["schedule.multistep.at"].kind == "numbers"


def test_defaults_are_those_given_and_not_the_models() -> None:
    quick = fields_of(Recipe, PRESETS["quick"].model_dump(mode="json"))
    assert by_key(quick)["iterations"].default == 60


def test_values_come_out_of_the_form_as_they_went_in() -> None:
    fields = fields_of(RestorationRecipe, RESTORER)
    given = {"batch": 8, "optimiser": {"kind": "sgd", "learning_rate": 0.5}}
    values = flat(fields, RESTORER, given)
    assert values == {"batch": 8, "optimiser.kind": "sgd", "optimiser.sgd.learning_rate": 0.5}
    assert nested(fields, values) == given


def test_another_kind_replaces_what_was_there() -> None:
    whole = merged(RESTORER, {"optimiser": {"kind": "sgd"}, "adversary": {"width": 8}})
    assert whole["optimiser"] == {"kind": "sgd"}
    assert whole["adversary"] == RESTORER["adversary"] | {"width": 8}


@pytest.mark.parametrize(
    ("values", "key", "words"),
    [
        ({"width": 900}, "width", "must be less than or equal to 256"),
        ({"factor": 9}, "factor", "must be less than or equal to 4"),
        ({"width": ""}, "width", "must be a number"),
        ({"max_width": 4}, "max_width", "max_width is 4, below width (32)"),
    ],
)
def test_a_fault_stands_beside_the_field_it_belongs_to(values: Any, key: str, words: str) -> None:
    assert faults(fields_of(Recipe, PAPER), Recipe, PAPER | values) == {key: words}


@pytest.mark.parametrize(
    ("given", "key", "words"),
    [
        (
            {"optimiser": {"kind": "sgd", "momentum": 0}},
            "optimiser.sgd.nesterov",
            "nesterov needs a momentum above 0; now it is 0",
        ),
        ({"schedule": {"kind": "multistep"}}, "schedule.multistep.at", "must be given"),
        ({"epochs": 3}, "", "give `iterations` or `epochs`; both of them is given"),
    ],
)
def test_a_fault_within_a_part_stands_beside_that(given: Any, key: str, words: str) -> None:
    fields = fields_of(RestorationRecipe, RESTORER)
    assert faults(fields, RestorationRecipe, merged(RESTORER, given)) == {key: words}


def test_names_are_written_as_words() -> None:
    assert label("lr_decay_at") == "Learning rate decay at"
    assert label("width") == "Width"
