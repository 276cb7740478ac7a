from typing import Any, get_args

import pytest
from pydantic import ValidationError

from models.metrics import METRICS
from services.phase2.hyperparameters import METRIC_SIDES, Adam, Exponential, Sgd
from services.phase2.recipe import PRESETS, PresetName, RestorationTraining, RestorerPlan, resolve


def spec(**fields: Any) -> RestorationTraining:
    return RestorationTraining.model_validate(
        {"dataset_id": "ds_1", "preset": "quick-edsr-sisr"} | fields
    )


def errors(**fields: Any) -> dict[tuple[Any, ...], str]:
    with pytest.raises(ValidationError) as caught:
        spec(**fields)
    return {error["loc"]: error["msg"] for error in caught.value.errors()}


@pytest.mark.parametrize("name", get_args(PresetName))
def test_the_parts_of_every_preset_are_in_accord(name: PresetName) -> None:
    plan = resolve(name)
    parts = PRESETS[name]
    assert (plan.task, plan.network, plan.loss, plan.recipe) == (
        parts.task,
        parts.network,
        parts.loss,
        parts.recipe,
    )


def test_the_papers_trainings() -> None:
    edsr = PRESETS["paper-edsr-sisr"]
    assert (edsr.network.scale, edsr.recipe.patch, edsr.recipe.epochs) == (4, 96, 500)
    assert (edsr.recipe.flips, edsr.recipe.rotations) == (True, True)
    assert edsr.recipe.optimiser.learning_rate == 1e-3
    denoising = PRESETS["paper-dncnn-denoising"]
    assert denoising.task.model_dump() == {"kind": "denoising", "sigma": [0, 55]}
    sgd = Sgd(learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    assert (denoising.recipe.optimiser, denoising.recipe.epochs) == (sgd, 50)
    assert denoising.recipe.schedule == Exponential(final=1e-4)
    jpeg = PRESETS["paper-dncnn-jpeg"]
    assert jpeg.task.model_dump() == {"kind": "jpeg", "quality": 10}
    assert jpeg.recipe.optimiser == Adam(learning_rate=1e-4)
    demosaicking = PRESETS["zhao-demosaicking"]
    assert demosaicking.recipe.patch == 31
    assert demosaicking.task.model_dump() == {
        "kind": "demosaicking",
        "a": 0.005,
        "b": 0.0001,
        "pattern": "RGGB",
    }
    blocks = PRESETS["zhao-jpeg"]
    assert (blocks.task.model_dump()["quality"], blocks.recipe.patch_stride) == (25, 7)


def test_an_epoch_has_so_many_patches_of_every_image() -> None:
    recipe = resolve("paper-edsr-sisr").recipe  # 16 patches an iteration, 20 of an image
    assert recipe.iterations_on(800) == 500 * 1000
    assert recipe.iterations_on(1) == 500 * 20 // 16
    assert resolve("paper-dncnn-denoising").recipe.iterations_on(400) == 50 * 3000
    assert resolve("paper-esrgan").recipe.iterations_on(7) == 400_000


def test_a_part_that_is_named_replaces_the_presets() -> None:
    plan = spec(
        task={"kind": "sisr", "factor": 2},
        network={"kind": "srresnet", "scale": 2},
        loss={"kind": "mix"},
    ).resolved()
    assert (plan.factor, plan.network.kind, plan.loss.kind) == (2, "srresnet", "mix")
    assert plan.recipe == PRESETS["quick-edsr-sisr"].recipe


def test_hyperparameters_are_laid_over_the_presets() -> None:
    base = PRESETS["quick-edsr-sisr"].recipe
    recipe = spec(recipe={"patch": 64, "optimiser": {"learning_rate": 0.5}}).resolved().recipe
    assert recipe.patch == 64
    assert recipe.optimiser == base.optimiser.model_copy(update={"learning_rate": 0.5})
    assert recipe.model_copy(update={"patch": base.patch, "optimiser": base.optimiser}) == base
    other = spec(recipe={"optimiser": {"kind": "sgd", "nesterov": False}}).resolved().recipe
    assert other.optimiser == Sgd(nesterov=False)


def test_epochs_stand_in_for_iterations_and_back() -> None:
    epochs = spec(recipe={"epochs": 3}).resolved().recipe
    assert (epochs.epochs, epochs.iterations) == (3, None)
    iterations = spec(preset="paper-edsr-sisr", recipe={"iterations": 9}).resolved().recipe
    assert (iterations.epochs, iterations.iterations) == (None, 9)
    assert "both of them" in errors(recipe={"epochs": 3, "iterations": 9})["recipe",]
    assert "neither of them" in errors(recipe={"iterations": None})["recipe",]


def test_what_is_stored_in_full_resolves_to_the_same_plan() -> None:
    for name in get_args(PresetName):
        plan = resolve(name, recipe={"random_seed": 5})
        stored = {"dataset_id": "ds_1", "preset": "quick-dncnn-jpeg"} | plan.model_dump(mode="json")
        assert RestorationTraining.model_validate(stored).resolved() == plan


def test_a_spec_survives_json() -> None:
    job = spec(loss={"kind": "sum", "terms": [{"loss": {"kind": "l1"}}]}, recipe={"patch": 48})
    assert RestorationTraining.model_validate_json(job.model_dump_json()) == job


def test_a_fault_in_the_overrides_is_located_below_recipe() -> None:
    found = errors(recipe={"iteratons": 7, "batch": 0, "optimiser": {"learning_rate": -1}})
    assert set(found) == {
        ("recipe", "iteratons"),
        ("recipe", "batch"),
        ("recipe", "optimiser", "adam", "learning_rate"),
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": {"kind": "sisr", "factor": 2}}, "enlarges 4× and the task asks for 2×"),
        ({"task": {"kind": "denoising"}}, "enlarges 4× and the task 'denoising' keeps the size"),
        ({"recipe": {"patch": 50}}, "patch is 50 px; for ×4 it must be a multiple of 4"),
        (
            {
                "task": {"kind": "denoising"},
                "network": {"kind": "rrdbnet", "scale": 1},
                "recipe": {"patch": 50},
            },
            "with the network rrdbnet at ×1 it must be a multiple of 4",
        ),
        (
            {
                "task": {"kind": "sisr", "factor": 2},
                "network": {"kind": "rrdbnet", "scale": 2},
                "recipe": {"patch": 50},
            },
            "with the network rrdbnet at ×2 it must be a multiple of 4",
        ),
        ({"loss": {"kind": "ms_ssim", "form": "wang"}}, "the loss needs at least 176 px"),
        ({"recipe": {"batch": 10, "accumulate": 4}}, "batch is 10; it must be a multiple"),
        ({"recipe": {"validation_crop": 64}}, "must be at least the patch"),
        ({"recipe": {"schedule": {"kind": "multistep", "at": [0.5, 0.2]}}}, "`at` must rise"),
        (
            {"recipe": {"optimiser": {"kind": "sgd", "momentum": 0}}},
            "nesterov needs a momentum above 0",
        ),
        (
            {
                "task": {"kind": "jpeg"},
                "network": {"kind": "dncnn", "channels": 1},
                "loss": {"kind": "mdf", "loss_id": "loss_1"},
            },
            "the network takes one channel",
        ),
        (
            {"task": {"kind": "demosaicking"}, "network": {"kind": "dncnn", "channels": 1}},
            "a mosaic is of three colours",
        ),
        (
            {
                "loss": {
                    "kind": "schedule",
                    "stages": [
                        {"until": 50_000, "loss": {"kind": "l1"}},
                        {"loss": {"kind": "l2"}},
                    ],
                }
            },
            "the next stage would never begin",
        ),
        (
            {
                "recipe": {"patch": 40},
                "loss": {
                    "kind": "sum",
                    "terms": [{"loss": {"kind": "l1"}}, {"loss": {"kind": "relativistic_gan"}}],
                },
            },
            "with an adversarial loss it must be a multiple of 32",
        ),
        (
            {
                "recipe": {"patch": 32, "batch": 4, "accumulate": 4},
                "loss": {
                    "kind": "sum",
                    "terms": [{"loss": {"kind": "l1"}}, {"loss": {"kind": "relativistic_gan"}}],
                },
            },
            "the discriminator normalises over one value",
        ),
        (
            {"recipe": {"validation_crop": 175, "validation_metrics": ["ms_ssim"]}},
            "validation_crop leaves 172 px; the metric ms_ssim needs at least 176 px",
        ),
        (
            {"recipe": {"validation_crop": 160, "validation_metrics": ["ssim", "iw_ssim"]}},
            "the metric iw_ssim needs at least 161 px",
        ),
    ],
)
def test_parts_at_odds_are_refused_with_the_way_out(fields: dict[str, Any], message: str) -> None:
    (found,) = errors(**fields).values()
    assert message in found


def test_the_smallest_sides_of_metrics_are_theirs() -> None:
    assert {name: METRICS[name].smallest_side for name in METRIC_SIDES} == METRIC_SIDES


def test_the_spec_refuses_unknown_presets_tasks_and_keys() -> None:
    assert ("preset",) in errors(preset="fast", recipe={"batch": 0})
    assert ("task",) in errors(task={"kind": "deblurring"})
    assert ("tsak",) in errors(tsak={})
    assert ("validation_share",) in errors(validation_share=0.9)


def test_learning_rates_warm_up_and_fall_as_scheduled() -> None:
    def factors(schedule: dict[str, Any], at: tuple[int, ...], **recipe: Any) -> list[float]:
        resolved = resolve(
            "quick-edsr-sisr",
            recipe={
                "optimiser": {"learning_rate": 0.1},
                "schedule": schedule,
                "warmup": 0,
                **recipe,
            },
        ).recipe
        return [resolved.learning_rate_factor(iteration, 100) for iteration in at]

    assert factors({"kind": "constant"}, (0, 99)) == [1, 1]
    steps = {"kind": "multistep", "at": [0.2, 0.5], "decay": 0.1}
    assert factors(steps, (19, 20, 49, 50)) == pytest.approx([1, 0.1, 0.1, 0.01])
    exponential = {"kind": "exponential", "final": 0.001}
    assert factors(exponential, (0, 50, 100)) == pytest.approx([1, 0.1, 0.01])
    assert factors({"kind": "cosine"}, (0, 50, 100)) == pytest.approx([1, 0.5, 0])
    to_tenth = {"kind": "cosine", "final": 0.01}
    assert factors(to_tenth, (0, 50, 100)) == pytest.approx([1, 0.55, 0.1])
    warm = factors({"kind": "constant"}, (0, 1, 2, 3, 4), warmup=3)
    assert warm == pytest.approx([0.25, 0.5, 0.75, 1, 1])


def test_the_json_schema_of_a_spec_stands_alone() -> None:
    """The recipe's own definitions are written out where they are used."""
    schema = RestorationTraining.model_json_schema()
    recipe = schema["properties"]["recipe"]
    assert "$ref" not in str(recipe)
    kinds = {
        each["properties"]["kind"]["const"] for each in recipe["properties"]["schedule"]["oneOf"]
    }
    assert kinds == {"constant", "multistep", "exponential", "cosine"}


def test_a_plan_knows_its_factor_and_its_adversary() -> None:
    assert resolve("quick-dncnn-jpeg").factor == 1
    assert resolve("zhao-sr").factor == 2
    assert resolve("paper-esrgan").is_adversarial
    assert not resolve("quick-edsr-sisr").is_adversarial
    plan = resolve("paper-esrgan")
    assert RestorerPlan.model_validate(plan.model_dump(mode="json")) == plan
