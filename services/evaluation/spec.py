"""The spec of an evaluation: which models, on which images, by which metrics. No torch."""

from typing import Annotated, Literal, Self, get_args

from pydantic import ConfigDict, Field, field_validator, model_validator

from services.exact import Exact
from services.phase2.hyperparameters import METRIC_SIDES
from services.phase2.tasks import AnyTask

MetricName = Literal[
    "psnr", "ssim", "ms_ssim", "iw_ssim", "gmsd", "fsim", "fsimc", "l1", "l2", "lpips"
]
METRIC_NAMES: tuple[MetricName, ...] = get_args(MetricName)
# Smallest side of images that a metric takes, px: as in `models.metrics` and `models.losses`.
SMALLEST_SIDES = METRIC_SIDES | {"l1": 1, "l2": 1, "lpips": 31}

MAX_MODELS = 16
MAX_LOSSES = 8
MAX_IMAGES = 1000
# The degraded image itself, among the models that are compared.
INPUT = "input"

_UNIQUE = {"uniqueItems": True}


class Evaluation(Exact):
    """Compare models of the catalogue on the images of a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["evaluation"] = "evaluation"
    model_ids: Annotated[
        tuple[Annotated[str, Field(max_length=64)], ...],
        Field(
            min_length=1,
            max_length=MAX_MODELS,
            description="`model_…`, to be compared with each other",
            json_schema_extra=_UNIQUE,
        ),
    ]
    dataset_id: Annotated[
        str,
        Field(
            max_length=64,
            description="`ds_…`: what the models' trainings held out of it, if they were trained "
            "on it, else all",
        ),
    ]
    images: Annotated[
        int, Field(ge=1, le=MAX_IMAGES, description="at most so many of them, evenly spread")
    ] = 100
    crop: Annotated[
        int, Field(ge=32, le=4096, description="px; of larger images the centre is taken")
    ] = 2048
    task: Annotated[
        AnyTask | None,
        Field(description="what is done to the images; default: the models' own, if all have one"),
    ] = None
    metrics: Annotated[
        tuple[MetricName, ...],
        Field(max_length=len(METRIC_NAMES), description="by name", json_schema_extra=_UNIQUE),
    ] = ("psnr", "ssim")
    loss_ids: Annotated[
        tuple[Annotated[str, Field(max_length=64)], ...],
        Field(
            max_length=MAX_LOSSES,
            description="`loss_…`: MDF losses as further metrics",
            json_schema_extra=_UNIQUE,
        ),
    ] = ()
    random_seed: Annotated[
        int, Field(ge=0, le=2**53 - 1, description="of the degradation and the resampling")
    ] = 0

    @field_validator("model_ids", "metrics", "loss_ids")
    @classmethod
    def _no_duplicates(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"named more than once: {', '.join(doubled)}")
        return names

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.metrics and not self.loss_ids:
            raise ValueError("needs `metrics` or `loss_ids`: something to compare by")
        return self

    @property
    def settled_task(self) -> AnyTask:
        """What is done to the images: in the spec of a job it stands."""
        if self.task is None:
            raise ValueError("the task is settled when the job is submitted")
        return self.task
