"""The recipe of Phase 1: every hyperparameter, the presets, the tasks, and the job's spec.

Names and defaults are those of Mustafa et al. 2022 (section 3.1) and, where that paper
refers to it, SinGAN (Shaham et al. 2019). Nothing here imports torch.
"""

import math
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

from services.distortions import AnyDistortion, Distortion, GaussianNoise, Jpeg
from services.distortions.parameter import Bounds
from services.errors import BadInputError, Problem
from services.exact import Exact

Preset = Literal["paper", "published", "quick"]

KERNEL = 3  # side of every convolution, px


class Recipe(Exact):
    """How the discriminators are trained. The defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scales: Annotated[int, Field(ge=1, le=16, description="K, number of scales")] = 8
    factor: Annotated[
        Annotated[float, Field(ge=1.05, le=4)] | Literal["auto"],
        Field(
            description="ρ, ratio of the sides of neighbouring scales; `auto` gives the coarsest "
            "scale `min_size` px: ρ = (finest side / min_size)^(1/(K−1))"
        ),
    ] = 2.0
    min_size: Annotated[
        int,
        Field(ge=3, le=1024, description="shorter side of the coarsest scale, px, if factor: auto"),
    ] = 25
    max_size: Annotated[
        int | None,
        Field(ge=16, le=8192, description="cap on the longer side of the finest scale, px"),
    ] = None
    padding: Annotated[
        Literal["valid", "same"],
        Field(
            description="zero padding of the discriminators' convolutions: none, or to same size"
        ),
    ] = "valid"

    width: Annotated[int, Field(ge=4, le=256, description="channels at the coarsest scale")] = 32
    width_doubles_every: Annotated[
        int, Field(ge=1, le=16, description="scales after which the width doubles")
    ] = 4
    max_width: Annotated[int, Field(ge=4, le=512, description="channels at most")] = 128
    layers: Annotated[
        int, Field(ge=3, le=10, description="3×3 convolutions; the receptive field is 2·layers + 1")
    ] = 5

    objective: Annotated[
        Literal["wgan-gp", "bce"],
        Field(description="Wasserstein with gradient penalty, or activations pushed to 1 and 0"),
    ] = "wgan-gp"
    gradient_penalty: Annotated[
        float, Field(ge=0, le=100, description="λ, weight of the gradient penalty (wgan-gp)")
    ] = 0.1
    reconstruction_weight: Annotated[
        float, Field(ge=0, le=100_000, description="α, weight of the MSE against the seed")
    ] = 100.0
    learning_rate: Annotated[float, Field(gt=0, le=1, description="Adam's step, both networks")] = (
        5e-4
    )
    beta1: Annotated[float, Field(ge=0, lt=1, description="Adam's decay of the first moment")] = 0.5
    beta2: Annotated[float, Field(ge=0, lt=1, description="Adam's decay of the second moment")] = (
        0.999
    )
    lr_decay_at: Annotated[
        int | None, Field(ge=1, description="iteration of a scale at which the learning rate drops")
    ] = 1600
    lr_decay: Annotated[
        float, Field(gt=0, le=1, description="factor of that drop of the learning rate")
    ] = 0.1
    discriminator_steps: Annotated[
        int, Field(ge=1, le=20, description="discriminator steps in an iteration")
    ] = 3
    generator_steps: Annotated[
        int, Field(ge=1, le=20, description="generator steps in an iteration")
    ] = 3
    iterations: Annotated[int, Field(ge=1, le=100_000, description="iterations of each scale")] = (
        3000
    )
    warm_start: Annotated[
        bool, Field(description="start a scale from the previous one's weights if the widths match")
    ] = True
    crop: Annotated[
        int | None,
        Field(ge=16, le=8192, description="side of random crops at scales that are larger, px"),
    ] = None
    random_seed: Annotated[
        int, Field(ge=0, le=2**53 - 1, description="start of every random generator")
    ] = 0

    taps: Annotated[
        Literal["every-relu", "published"],
        Field(
            description="features that the loss compares: after every ReLU and the output, or "
            "the three of the published code"
        ),
    ] = "every-relu"
    value_range: Annotated[
        Literal["training", "unit"],
        Field(description="range that the loss maps images to: training [−1, 1] or unit [0, 1]"),
    ] = "training"

    @property
    def receptive_field(self) -> int:
        """Side of the patch that one activation of a discriminator sees, px."""
        return 2 * self.layers + 1

    @property
    def smallest_side(self) -> int:
        """Shorter side that the coarsest scale must have, px."""
        return self.receptive_field if self.padding == "valid" else KERNEL

    def width_at(self, scale: int) -> int:
        """Channels of the networks at `scale`, 0 the coarsest."""
        doublings = scale // self.width_doubles_every
        return min(self.width << doublings, self.max_width)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.factor == "auto" and self.min_size < self.smallest_side:
            raise ValueError(
                f"min_size is {self.min_size} px; with padding '{self.padding}' and {self.layers} "
                f"layers it must be at least {self.smallest_side} px"
            )
        if self.max_width < self.width:
            raise ValueError(f"max_width is {self.max_width}, below width ({self.width})")
        if self.crop is not None and self.crop < self.receptive_field:
            raise ValueError(
                f"crop is {self.crop} px; with {self.layers} layers it must be at least "
                f"{self.receptive_field} px"
            )
        return self


PRESETS: dict[Preset, Recipe] = {
    "paper": Recipe(),
    "published": Recipe(taps="published", value_range="unit"),
    # For a try on two CPU cores: minutes instead of hours.
    "quick": Recipe(
        factor="auto",
        max_size=128,
        width=16,
        iterations=60,
        learning_rate=2e-3,
        lr_decay_at=48,
    ),
}


class _Task(Exact):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Denoising(_Task):
    """Additive Gaussian noise."""

    kind: Literal["denoising"] = "denoising"
    sigma: Annotated[
        tuple[float, float],
        Bounds(0, 255),
        Field(description="standard deviation on the 0–255 scale"),
    ] = (0.0, 55.0)

    def pipeline(self) -> list[Distortion]:
        """The distortions, in order."""
        return [GaussianNoise(sigma=self.sigma)]


class JpegRestoration(_Task):
    """Removal of JPEG artefacts."""

    kind: Literal["jpeg"] = "jpeg"
    quality: Annotated[
        tuple[int, int], Bounds(1, 100), Field(description="libjpeg quality, 1 (worst) to 100")
    ] = (7, 10)

    def pipeline(self) -> list[Distortion]:
        """The distortions, in order."""
        return [Jpeg(quality=self.quality)]


class Sisr(_Task):
    """Single-image super-resolution: the upsampling between scales is all the distortion."""

    kind: Literal["sisr"] = "sisr"

    def pipeline(self) -> list[Distortion]:
        """None."""
        return []


class Custom(_Task):
    """A pipeline of distortions, applied in the given order."""

    kind: Literal["custom"] = "custom"
    distortions: Annotated[
        tuple[AnyDistortion, ...], Field(min_length=1, max_length=16, description="in order")
    ]

    def pipeline(self) -> list[Distortion]:
        """The distortions, in order."""
        return list(self.distortions)


Task = Annotated[Denoising | JpegRestoration | Sisr | Custom, Field(discriminator="kind")]

Overrides = Annotated[
    dict[str, JsonValue],
    WithJsonSchema(
        Recipe.model_json_schema()
        | {"title": "Recipe", "description": "hyperparameters that differ from the preset's"}
    ),
]


class DiscriminatorTraining(Exact):
    """A Phase 1 job: train the loss of `task` on the seed images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["discriminator_training"] = "discriminator_training"
    seed_image_ids: Annotated[
        tuple[str, ...],
        Field(
            min_length=1,
            max_length=16,
            description="one pyramid is made of each",
            json_schema_extra={"uniqueItems": True},
        ),
    ]
    task: Task
    preset: Annotated[Preset, Field(description="recipe to start from")] = "paper"
    recipe: Annotated[Overrides, Field(description="hyperparameters that differ")] = {}

    @field_validator("seed_image_ids")
    @classmethod
    def _no_duplicates(cls, ids: tuple[str, ...]) -> tuple[str, ...]:
        doubled = sorted({name for name in ids if ids.count(name) > 1})
        if doubled:
            raise ValueError(f"named more than once: {', '.join(doubled)}")
        return ids

    @field_validator("recipe")
    @classmethod
    def _check_recipe(cls, overrides: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "preset" in info.data:  # otherwise the preset has an error of its own
            resolve(info.data["preset"], overrides)
        return overrides

    def resolved_recipe(self) -> Recipe:
        """The preset's recipe with this job's overrides."""
        return resolve(self.preset, self.recipe)


def resolve(preset: Preset, overrides: dict[str, Any]) -> Recipe:
    """The recipe `preset` with `overrides`; pydantic's ValidationError names a bad one."""
    return Recipe.model_validate(PRESETS[preset].model_dump() | overrides)


def scale_sizes(recipe: Recipe, width: int, height: int) -> list[tuple[int, int]]:
    """(width, height) of every scale of a seed's pyramid, coarsest first, px."""
    finest = width, height
    if recipe.max_size is not None and max(finest) > recipe.max_size:
        cap = recipe.max_size / max(finest)
        finest = max(1, round(width * cap)), max(1, round(height * cap))
    factor = effective_factor(recipe, min(finest))
    shrinks = [factor ** (recipe.scales - 1 - scale) for scale in range(recipe.scales)]
    # A side of 24.999… px by rounding of the power is one of 25.
    return [
        (math.floor(finest[0] / shrink + 1e-6), math.floor(finest[1] / shrink + 1e-6))
        for shrink in shrinks
    ]


def effective_factor(recipe: Recipe, finest_side: int) -> float:
    """ρ, for a finest scale whose shorter side is `finest_side` px."""
    if recipe.factor != "auto":
        return recipe.factor
    if recipe.scales == 1:
        return 1.0
    return float((finest_side / recipe.min_size) ** (1 / (recipe.scales - 1)))


def check_seed_size(recipe: Recipe, width: int, height: int) -> None:
    """Raise BadInputError, with the ways out, if a seed is too small for the recipe's pyramid."""
    sizes = scale_sizes(recipe, width, height)
    factor = recipe.factor
    if factor == "auto":
        scale, size, needed = "finest", sizes[-1], recipe.min_size
        shorter = recipe.min_size
        ways_out = ["a smaller `min_size`"]
    else:
        scale, size, needed = "coarsest", sizes[0], recipe.smallest_side
        shrink = factor ** (recipe.scales - 1)
        shorter = math.ceil(needed * shrink)
        ways_out = [f"`factor: auto` (from {max(recipe.min_size, needed)} px)"]
        if recipe.padding == "valid":
            ways_out.append(f"`padding: same` (from {math.ceil(KERNEL * shrink)} px)")
    if min(size) >= needed:
        return
    longer = math.ceil(shorter * max(width, height) / min(width, height))
    if recipe.max_size is not None and longer > recipe.max_size:
        ways_out.insert(0, f"`max_size: {longer}` or more instead of {recipe.max_size}")
    if min(width, height) < shorter:
        ways_out.insert(0, f"a seed of {shorter} px or more on its shorter side")
    message = (
        f"the seed of {width}×{height} px is too small: with {recipe.scales} scales, factor "
        f"{factor} and padding '{recipe.padding}' its {scale} scale is {size[0]}×{size[1]} "
        f"px and must be {needed} px or more on the shorter side. Use " + ", or ".join(ways_out)
    )
    raise BadInputError(message, problems=(Problem("/seed_image_ids", message),))
