"""Every hyperparameter of a restorer's training: optimisers, schedules, patches, validation.

Nothing here imports torch.
"""

import math
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from services.exact import Exact

GIB = 1024**3

# Smallest side that a metric of the validation takes, px: as in `models.metrics`.
METRIC_SIDES = {
    "psnr": 1,
    "ssim": 11,
    "ms_ssim": 176,
    "iw_ssim": 161,
    "gmsd": 2,
    "fsim": 2,
    "fsimc": 2,
}

_LearningRate = Annotated[float, Field(gt=0, le=10, description="step at the start")]
_WeightDecay = Annotated[float, Field(ge=0, le=1, description="of every weight, at each step")]
_Beta1 = Annotated[float, Field(ge=0, lt=1, description="decay of the first moment")]
_Beta2 = Annotated[float, Field(ge=0, lt=1, description="decay of the second moment")]


class _Part(Exact):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Adam(_Part):
    """Adam (Kingma and Ba 2015); weight decay as L2 regularisation."""

    kind: Literal["adam"] = "adam"
    learning_rate: _LearningRate = 1e-4
    beta1: _Beta1 = 0.9
    beta2: _Beta2 = 0.999
    weight_decay: _WeightDecay = 0.0


class AdamW(_Part):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: _LearningRate = 1e-4
    beta1: _Beta1 = 0.9
    beta2: _Beta2 = 0.999
    weight_decay: _WeightDecay = 0.01


class Sgd(_Part):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: _LearningRate = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1, description="share of the step before")] = 0.9
    nesterov: Annotated[bool, Field(description="look ahead along the momentum")] = True
    weight_decay: _WeightDecay = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0; now it is 0")
        return self


class Constant(_Part):
    """The learning rate stays as it is."""

    kind: Literal["constant"] = "constant"

    def factor(self, progress: float, learning_rate: float) -> float:  # noqa: ARG002 - same for all
        """1."""
        return 1.0


class MultiStep(_Part):
    """The learning rate drops at some points of the training."""

    kind: Literal["multistep"] = "multistep"
    at: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...],
        Field(min_length=1, max_length=32, description="shares of the training done, rising"),
    ]
    decay: Annotated[float, Field(gt=0, le=1, description="factor of each drop")] = 0.5

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(after <= before for before, after in pairwise(self.at)):
            raise ValueError(f"`at` must rise; it is {list(self.at)}")
        return self

    def factor(self, progress: float, learning_rate: float) -> float:  # noqa: ARG002 - same for all
        """`decay` for every point passed."""
        return float(self.decay ** sum(progress >= point for point in self.at))


class Exponential(_Part):
    """The learning rate falls by the same ratio at every iteration."""

    kind: Literal["exponential"] = "exponential"
    final: Annotated[float, Field(gt=0, le=10, description="learning rate at the end")]

    def factor(self, progress: float, learning_rate: float) -> float:
        """From 1 to final / learning_rate, straight on a logarithmic axis."""
        return float((self.final / learning_rate) ** progress)


class Cosine(_Part):
    """The learning rate falls along half a cosine (Loshchilov and Hutter 2017)."""

    kind: Literal["cosine"] = "cosine"
    final: Annotated[float, Field(ge=0, le=10, description="learning rate at the end")] = 0.0

    def factor(self, progress: float, learning_rate: float) -> float:
        """From 1 to final / learning_rate."""
        low = self.final / learning_rate
        return low + (1 - low) * (1 + math.cos(math.pi * progress)) / 2


AnyOptimiser = Annotated[Adam | AdamW | Sgd, Field(discriminator="kind")]
AnySchedule = Annotated[Constant | MultiStep | Exponential | Cosine, Field(discriminator="kind")]


class Adversary(_Part):
    """How the discriminator of an adversarial loss is trained (ESRGAN, Wang et al. 2018)."""

    width: Annotated[int, Field(ge=4, le=256, description="channels of its first layer")] = 64
    learning_rate: _LearningRate = 1e-4
    beta1: _Beta1 = 0.9
    beta2: _Beta2 = 0.999
    weight_decay: _WeightDecay = 0.0


class RestorationRecipe(Exact):
    """How a restorer is trained. The presets say what the papers do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch: Annotated[int, Field(ge=8, le=1024, description="side of the target's patches, px")] = 96
    batch: Annotated[int, Field(ge=1, le=4096, description="patches of an iteration")] = 16
    iterations: Annotated[
        int | None,
        Field(ge=1, le=10_000_000, description="steps of the optimiser; or `epochs`"),
    ] = None
    epochs: Annotated[
        int | None, Field(ge=1, le=100_000, description="passes over the data; or `iterations`")
    ] = None
    patches_per_image: Annotated[
        int, Field(ge=1, le=100_000, description="patches of each image in an epoch")
    ] = 1
    accumulate: Annotated[
        int,
        Field(ge=1, le=256, description="parts that a batch goes through the network in"),
    ] = 1

    flips: Annotated[bool, Field(description="mirror half of the patches, each way")] = True
    rotations: Annotated[bool, Field(description="turn patches by 0, 90, 180 or 270°")] = True
    patch_stride: Annotated[
        int,
        Field(ge=1, le=256, description="patches begin at multiples of this in the image, px"),
    ] = 1
    cache_bytes: Annotated[
        int, Field(ge=0, le=1024 * GIB, description="decoded images kept in memory, bytes")
    ] = 2 * GIB

    optimiser: Annotated[AnyOptimiser, Field(description="of the restorer")] = Adam()
    schedule: Annotated[AnySchedule, Field(description="of the learning rates")] = Constant()
    warmup: Annotated[
        int,
        Field(ge=0, le=1_000_000, description="iterations in which the learning rates rise from 0"),
    ] = 0
    clip_norm: Annotated[
        float | None, Field(gt=0, le=1e6, description="cap on the norm of the gradient")
    ] = None
    ema: Annotated[
        float | None,
        Field(gt=0, lt=1, description="decay of the moving average of the weights"),
    ] = None
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        Field(description="of the network's forward; the loss is in float32 (float16: GPU only)"),
    ] = "float32"
    adversary: Annotated[
        Adversary, Field(description="the discriminator, if the loss has an adversarial term")
    ] = Adversary()

    validate_every: Annotated[
        int, Field(ge=1, le=1_000_000, description="iterations between validations")
    ] = 1000
    validation_images: Annotated[
        int, Field(ge=1, le=10_000, description="images to validate on, at most")
    ] = 100
    validation_crop: Annotated[
        int, Field(ge=16, le=2048, description="side of their centres, px")
    ] = 512
    validation_metrics: Annotated[
        tuple[Literal["psnr", "ssim", "ms_ssim", "iw_ssim", "gmsd", "fsim", "fsimc"], ...],
        Field(max_length=7, description="measured beside the loss, in RGB"),
    ] = ("psnr", "ssim")
    sample_images: Annotated[
        int, Field(ge=0, le=16, description="validation images to show the progress on")
    ] = 3
    random_seed: Annotated[
        int, Field(ge=0, le=2**53 - 1, description="start of every random generator")
    ] = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.iterations is None) == (self.epochs is None):
            given = "neither" if self.epochs is None else "both"
            raise ValueError(f"give `iterations` or `epochs`; {given} of them is given")
        if self.batch % self.accumulate:
            raise ValueError(
                f"batch is {self.batch}; it must be a multiple of accumulate ({self.accumulate})"
            )
        if self.validation_crop < self.patch:
            raise ValueError(
                f"validation_crop is {self.validation_crop} px; it must be at least the patch "
                f"({self.patch} px)"
            )
        return self

    def iterations_on(self, images: int) -> int:
        """Steps of the optimiser on a data set of so many images."""
        if self.iterations is not None:
            return self.iterations
        return math.ceil((self.epochs or 0) * self.patches_per_image * images / self.batch)

    def learning_rate_factor(self, iteration: int, iterations: int) -> float:
        """What every learning rate is multiplied by at `iteration`, from 0."""
        warm = min(1.0, (iteration + 1) / (self.warmup + 1))
        start = self.optimiser.learning_rate
        return warm * self.schedule.factor(iteration / iterations, start)
