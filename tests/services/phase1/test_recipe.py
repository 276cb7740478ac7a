import re
from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from services.distortions import GaussianNoise, Jpeg
from services.errors import BadInputError
from services.phase1.recipe import (
    PRESETS,
    DiscriminatorTraining,
    Recipe,
    check_seed_size,
    scale_sizes,
)


def spec(**fields: Any) -> DiscriminatorTraining:
    return DiscriminatorTraining.model_validate(
        {"seed_image_ids": ["img_1"], "task": {"kind": "jpeg"}} | fields
    )


def errors(**fields: Any) -> dict[tuple[Any, ...], str]:
    with pytest.raises(ValidationError) as caught:
        spec(**fields)
    return {error["loc"]: error["msg"] for error in caught.value.errors()}


def test_the_defaults_are_the_papers() -> None:
    paper = PRESETS["paper"]
    assert paper == Recipe()
    assert (paper.scales, paper.factor, paper.iterations, paper.layers) == (8, 2.0, 3000, 5)
    assert (paper.objective, paper.gradient_penalty, paper.reconstruction_weight) == (
        "wgan-gp",
        0.1,
        100,
    )
    assert (paper.learning_rate, paper.beta1, paper.beta2) == (5e-4, 0.5, 0.999)
    assert (paper.lr_decay_at, paper.lr_decay) == (1600, 0.1)
    assert (paper.discriminator_steps, paper.generator_steps) == (3, 3)
    assert (paper.taps, paper.value_range) == ("every-relu", "training")
    assert paper.receptive_field == 11


def test_published_differs_from_paper_in_taps_and_value_range_only() -> None:
    paper, published = (PRESETS[name].model_dump() for name in ("paper", "published"))
    assert {key for key in paper if paper[key] != published[key]} == {"taps", "value_range"}
    assert (published["taps"], published["value_range"]) == ("published", "unit")


def test_widths_double_every_four_scales_up_to_a_limit() -> None:
    recipe = Recipe(scales=16)
    assert [recipe.width_at(scale) for scale in (0, 3, 4, 7, 8, 11, 12, 15)] == [
        32, 32, 64, 64, 128, 128, 128, 128,
    ]  # fmt: skip


def test_overrides_are_laid_over_the_preset() -> None:
    job = spec(preset="quick", recipe={"iterations": 7, "objective": "bce"})
    recipe = job.resolved_recipe()
    assert (recipe.iterations, recipe.objective) == (7, "bce")
    assert recipe.max_size == PRESETS["quick"].max_size
    assert job.recipe == {"iterations": 7, "objective": "bce"}


def test_a_fault_in_the_overrides_is_located_below_recipe() -> None:
    found = errors(recipe={"iteratons": 7, "scales": 0, "padding": "mirror"})
    assert set(found) == {("recipe", "iteratons"), ("recipe", "scales"), ("recipe", "padding")}
    assert "greater than or equal to 1" in found["recipe", "scales"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"factor": "auto", "min_size": 10}, "at least 11 px"),
        ({"width": 256}, "max_width is 128, below width"),
        ({"layers": 9, "crop": 18}, "at least 19 px"),
    ],
)
def test_hyperparameters_that_contradict_each_other_are_refused(
    overrides: dict[str, Any], message: str
) -> None:
    (found,) = errors(recipe=overrides).values()
    assert message in found


def test_the_spec_refuses_unknown_tasks_keys_presets_and_doubled_seeds() -> None:
    assert ("task",) in errors(task={"kind": "deblurring"})
    assert ("tsak",) in errors(tsak={})
    assert ("preset",) in errors(preset="fast", recipe={"scales": 0})
    assert "img_1" in errors(seed_image_ids=["img_1", "img_1"])["seed_image_ids",]
    assert ("seed_image_ids",) in errors(seed_image_ids=[])
    assert ("task", "denoising", "sigma") in errors(task={"kind": "denoising", "sigma": -1})
    assert ("task", "jpeg", "quality") in errors(task={"kind": "jpeg", "quality": 0})
    custom = {"kind": "custom", "distortions": [{"kind": "jpeg", "quality": 0}]}
    assert ("task", "custom", "distortions", 0, "jpeg", "quality") in errors(task=custom)


def test_each_task_names_its_distortions() -> None:
    assert spec(task={"kind": "jpeg"}).task.pipeline() == [Jpeg(quality=[7, 10])]
    assert spec(task={"kind": "denoising"}).task.pipeline() == [GaussianNoise(sigma=[0, 55])]
    assert spec(task={"kind": "sisr"}).task.pipeline() == []
    custom = {
        "kind": "custom",
        "distortions": [{"kind": "gaussian_noise", "sigma": 5}, {"kind": "jpeg", "quality": 30}],
    }
    assert spec(task=custom).task.pipeline() == [GaussianNoise(sigma=5), Jpeg(quality=30)]


def test_a_spec_survives_json() -> None:
    job = spec(task={"kind": "denoising", "sigma": 25}, preset="quick", recipe={"scales": 3})
    assert DiscriminatorTraining.model_validate_json(job.model_dump_json()) == job


def test_the_coarsest_scale_of_the_papers_pyramid() -> None:
    assert scale_sizes(Recipe(), 2000, 1408)[0] == (15, 11)
    assert scale_sizes(Recipe(), 2000, 1408)[-1] == (2000, 1408)


def test_auto_keeps_all_scales_from_min_size_to_the_finest() -> None:
    recipe = Recipe(factor="auto")
    sizes = scale_sizes(recipe, 512, 384)
    assert len(sizes) == 8
    assert sizes[0] == (33, 25)
    assert sizes[-1] == (512, 384)
    ratios = [finer[1] / coarser[1] for coarser, finer in pairwise(sizes)]
    assert ratios == pytest.approx([(384 / 25) ** (1 / 7)] * 7, rel=0.03)


@pytest.mark.parametrize("side", [25, 26, 100, 333, 4096])
def test_rounding_never_makes_the_coarsest_scale_smaller_than_asked_for(side: int) -> None:
    assert scale_sizes(Recipe(factor="auto"), side, side)[0] == (25, 25)


def test_max_size_caps_the_longer_side() -> None:
    assert scale_sizes(Recipe(factor="auto", max_size=128), 1024, 512)[-1] == (128, 64)


def test_the_smallest_seed_that_is_accepted_is_the_one_the_error_names() -> None:
    with pytest.raises(BadInputError) as caught:
        check_seed_size(Recipe(), 1600, 1407)
    message = caught.value.message
    assert "1600×1407" in message
    assert "`factor: auto` (from 25 px)" in message
    assert "`padding: same` (from 384 px)" in message
    named = re.search(r"a seed of (\d+) px", message)
    assert named is not None
    assert named[1] == "1408"
    check_seed_size(Recipe(), 1600, 1408)
    check_seed_size(Recipe(padding="same"), 384, 384)
    check_seed_size(Recipe(factor="auto"), 25, 25)
    with pytest.raises(BadInputError):
        check_seed_size(Recipe(padding="same"), 383, 383)
    with pytest.raises(BadInputError, match="finest scale is 24×24 px"):
        check_seed_size(Recipe(factor="auto"), 24, 24)


def test_a_cap_that_is_too_low_is_named() -> None:
    recipe = Recipe(max_size=1000)
    with pytest.raises(BadInputError, match="`max_size: 1408` or more instead of 1000"):
        check_seed_size(recipe, 2000, 2000)
