"""The spec of a `restoration_training` job, and what it comes to: a plan. No torch.

A preset gives the task, the network, the loss and the recipe; a spec replaces what it names. The
first three are replaced whole. Of the recipe single hyperparameters are, also within `optimiser`,
`schedule` and `adversary` as long as their `kind` stays.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from services.exact import Exact
from services.phase2 import objective
from services.phase2.hyperparameters import METRIC_SIDES, RestorationRecipe
from services.phase2.objective import AnyLoss, Schedule
from services.phase2.presets import PRESETS, PresetName
from services.phase2.tasks import AnyTask, Demosaicking, SuperResolution, factor_of
from services.restorers.networks import AnyNetwork

__all__ = ["PRESETS", "PresetName", "RestorationTraining", "RestorerPlan", "resolve"]

# The discriminator of ESRGAN halves its input five times.
ADVERSARIAL_PATCH = 32


class RestorerPlan(Exact):
    """All that a training is, but its images: every default filled in, all parts in accord."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: AnyTask
    network: AnyNetwork
    loss: AnyLoss
    recipe: RestorationRecipe

    @property
    def factor(self) -> int:
        """Sides of the target over those of the degraded image before any interpolation."""
        return factor_of(self.task)

    @property
    def multiple(self) -> int:
        """Sides of targets are multiples of it, px: those of the task and of the network."""
        return multiple_of(self.task, self.network)

    @property
    def is_adversarial(self) -> bool:
        """Whether a discriminator is trained beside the network."""
        return objective.is_adversarial(self.loss)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_accord(self.task, self.network)
        self._check_patch()
        self._check_colour()
        self._check_validation()
        if self.recipe.iterations is not None:
            self.check_stages(self.recipe.iterations)
        return self

    def _check_colour(self) -> None:
        if self.network.channels == 1 and objective.needs_colour(self.loss):
            raise ValueError(
                "the loss compares colour images and the network takes one channel: use a network "
                "with `channels: 3`, or a loss of l1, l2, charbonnier, ssim, ms_ssim and mix"
            )

    def _check_patch(self) -> None:
        patch = self.recipe.patch
        if patch % self.factor:
            raise ValueError(
                f"recipe.patch is {patch} px; for ×{self.factor} it must be a multiple of "
                f"{self.factor}"
            )
        if patch % self.multiple:
            raise ValueError(
                f"recipe.patch is {patch} px; with the network {self.network.kind} at "
                f"×{self.network.scale} it must be a multiple of {self.multiple}"
            )
        smallest = objective.smallest_patch(self.loss)
        if patch < smallest:
            raise ValueError(
                f"recipe.patch is {patch} px; the loss needs at least {smallest} px: use larger "
                "patches, or a loss with smaller windows"
            )
        if self.is_adversarial:
            self._check_adversary()

    def _check_adversary(self) -> None:
        patch, batch, parts = self.recipe.patch, self.recipe.batch, self.recipe.accumulate
        if patch % ADVERSARIAL_PATCH:
            raise ValueError(
                f"recipe.patch is {patch} px; with an adversarial loss it must be a multiple of "
                f"{ADVERSARIAL_PATCH}, as the discriminator halves it five times"
            )
        if patch == ADVERSARIAL_PATCH and batch == parts:
            raise ValueError(
                f"recipe.batch is {batch} and accumulate {parts}, with patches of {patch} px: the "
                "discriminator normalises over one value; use larger patches, or two or more of "
                "them in each part of the batch"
            )

    def _check_validation(self) -> None:
        side = self.recipe.validation_crop // self.multiple * self.multiple
        for name in self.recipe.validation_metrics:
            if side < METRIC_SIDES[name]:
                raise ValueError(
                    f"recipe.validation_crop leaves {side} px; the metric {name} needs at least "
                    f"{METRIC_SIDES[name]} px: use a larger crop, or leave the metric out"
                )

    def check_stages(self, iterations: int) -> None:
        """Raise ValueError if a stage of the loss would not begin in so many iterations."""
        if not isinstance(self.loss, Schedule):
            return
        for stage in self.loss.stages:
            if stage.until is not None and stage.until >= iterations:
                raise ValueError(
                    f"a stage of the loss lasts until iteration {stage.until}, and the training "
                    f"has {iterations}: the next stage would never begin"
                )


def check_accord(task: AnyTask, network: AnyNetwork) -> None:
    """Raise ValueError for a network that cannot undo what the task does."""
    scale = network.scale
    if isinstance(task, SuperResolution):
        if scale not in (1, task.factor):
            raise ValueError(
                f"the network enlarges {scale}× and the task asks for {task.factor}×: give "
                f"both `task` and `network` the same, or a network that does not enlarge"
            )
    elif scale != 1:
        raise ValueError(
            f"the network enlarges {scale}× and the task '{task.kind}' keeps the size: "
            "use a network that does not enlarge (dncnn, zhao, srcnn), or the task 'sisr'"
        )
    if network.channels == 1 and isinstance(task, Demosaicking):
        raise ValueError(
            "a mosaic is of three colours and the network takes one channel: use a network "
            "with `channels: 3`"
        )


def multiple_of(task: AnyTask, network: AnyNetwork) -> int:
    """Sides of targets are multiples of it, px: those of the task and of the network."""
    factor = factor_of(task)
    if network.scale > 1:
        return factor * network.multiple
    return math.lcm(factor, network.multiple)


def _flat(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """`schema` with its definitions in place of the references, to stand within another."""
    if isinstance(schema, list):
        return [_flat(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        named = definitions[schema["$ref"].rpartition("/")[2]]
        schema = named | {key: value for key, value in schema.items() if key != "$ref"}
    # The mapping of a discriminated union names references; each member says its `kind` itself.
    left_out = ("$defs", "discriminator")
    return {key: _flat(value, definitions) for key, value in schema.items() if key not in left_out}


_SCHEMA = RestorationRecipe.model_json_schema()

Overrides = Annotated[
    dict[str, JsonValue],
    WithJsonSchema(
        _flat(_SCHEMA, _SCHEMA["$defs"])
        | {"title": "RestorationRecipe", "description": "hyperparameters that differ"}
    ),
]


class RestorationTraining(Exact):
    """A Phase 2 job: train a network on a data set to undo the task's degradation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["restoration_training"] = "restoration_training"
    dataset_id: Annotated[str, Field(description="images to train on")]
    validation_dataset_id: Annotated[
        str | None, Field(description="images to validate on; else a share of the data set")
    ] = None
    validation_share: Annotated[
        float,
        Field(ge=0, le=0.5, description="of the data set, held out for validation"),
    ] = 0.1
    preset: Annotated[PresetName, Field(description="what to start from")]
    task: Annotated[AnyTask | None, Field(description="instead of the preset's")] = None
    network: Annotated[AnyNetwork | None, Field(description="instead of the preset's")] = None
    loss: Annotated[AnyLoss | None, Field(description="instead of the preset's")] = None
    recipe: Annotated[Overrides, Field(description="hyperparameters that differ")] = {}
    start_from: Annotated[
        str | None, Field(description="id of a model of the same network to start from")
    ] = None

    @field_validator("recipe")
    @classmethod
    def _check_recipe(cls, overrides: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "preset" in info.data:  # otherwise the preset has an error of its own
            _overridden(PRESETS[info.data["preset"]].recipe, overrides)
        return overrides

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.resolved()
        return self

    def resolved(self) -> RestorerPlan:
        """The preset with what this job replaces."""
        return resolve(
            self.preset,
            task=self.task,
            network=self.network,
            loss=self.loss,
            recipe=self.recipe,
        )


def resolve(
    preset: PresetName,
    *,
    task: AnyTask | None = None,
    network: AnyNetwork | None = None,
    loss: AnyLoss | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> RestorerPlan:
    """The plan of `preset` with the parts and hyperparameters given.

    Raises: pydantic's ValidationError, which names a bad hyperparameter, or parts at odds.
    """
    parts = PRESETS[preset]
    return RestorerPlan(
        task=task or parts.task,
        network=network or parts.network,
        loss=loss or parts.loss,
        recipe=_overridden(parts.recipe, recipe or {}),
    )


def _overridden(recipe: RestorationRecipe, overrides: Mapping[str, Any]) -> RestorationRecipe:
    plain = recipe.model_dump()
    if overrides.get("iterations") is not None:
        plain["epochs"] = None  # one of the two: that of the caller
    elif overrides.get("epochs") is not None:
        plain["iterations"] = None
    for name, value in overrides.items():
        base = plain.get(name)
        if isinstance(base, dict) and isinstance(value, Mapping):
            same = value.get("kind", base.get("kind")) == base.get("kind")
            plain[name] = {**base, **value} if same else dict(value)
        else:
            plain[name] = value
    return RestorationRecipe.model_validate(plain)
