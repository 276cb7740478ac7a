"""What the service answers and takes, beside the specs that `services` defines."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    Tag,
)

from services import keys, usage
from services.access import Scope
from services.database import schema
from services.database.schema import (
    Artifact,
    DatasetImage,
    Image,
    Job,
    JobMetric,
    JobSample,
    Loss,
    LossFile,
    Model,
    ModelFile,
    Webhook,
    WebhookDelivery,
    Worker,
)
from services.datasets.catalogue import Described
from services.datasets.catalogue import State as DatasetState
from services.datasets.source import AnySource, OnBadFile
from services.estimates.forecast import Estimate
from services.evaluation.catalogue import ImageScores
from services.evaluation.spec import INPUT, Evaluation
from services.exact import Exact
from services.jobs.failures import Code
from services.jobs.lifecycle import State
from services.jobs.results import Made
from services.jobs.specs import SPECS, AnySpec
from services.names import CONTROL
from services.phase1.recipe import DiscriminatorTraining
from services.phase2.recipe import RestorationTraining
from services.restoration.spec import Restoration
from services.webhooks.outbox import EVENTS, Event

# Names are shown in lists, logs and file names: no orders to the screen.
Name = Annotated[str, Field(max_length=200, pattern=rf"^[^{CONTROL}]*$")]
Priority = Annotated[int, Field(ge=-100, le=100, description="higher runs first")]
LossFormat = Literal["safetensors", "pth", "pt2"]
ModelFormat = Literal["safetensors", "onnx", "pt2"]
JobType = Literal[
    "discriminator_training", "restoration_training", "restoration", "evaluation", "dataset_import"
]
_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]")


def _written(moment: Any) -> Any:
    """Numbers, and texts of digits alone, would be taken for seconds since 1970."""
    if moment is None or isinstance(moment, datetime) or _DATE.match(str(moment)):
        return moment
    raise ValueError("must be a date and time such as 2030-01-31T18:00:00Z")


def _in_utc(moment: datetime | None) -> datetime | None:
    try:
        return None if moment is None else moment.astimezone(UTC)
    except OverflowError:  # with its offset it lies outside the years 1 to 9999
        raise ValueError("must lie in the years 1 to 9999 of UTC") from None


class Out(BaseModel):
    """An answer."""

    model_config = ConfigDict(from_attributes=True)


class In(Exact):
    """A request's body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class DeletedOut(Out):
    """What was deleted, and what that is worth."""

    id: str
    bytes_freed: Annotated[
        int, Field(description="of its files, but for those that other objects of the owner have")
    ]


class ImageOut(Out):
    """A stored image."""

    id: str
    name: str
    digest: Annotated[
        str, Field(description="SHA-256 of the size and the 8-bit pixels, RGB or RGBA")
    ]
    width: Annotated[int, Field(description="px")]
    height: Annotated[int, Field(description="px")]
    size: Annotated[int, Field(description="of the stored PNG, bytes")]
    source: Annotated[
        dict[str, Any],
        Field(description="format of the file and what was converted, or how it was synthesised"),
    ]
    created: datetime

    @classmethod
    def of(cls, image: Image) -> Self:
        """From its row."""
        return cls.model_validate(image)


class _JobFields(Exact):
    """What every job may be given beside its spec."""

    name: Annotated[Name, Field(description="of the job and of what it makes")] = ""
    priority: Priority = 0
    deadline: Annotated[
        AwareDatetime | None,
        BeforeValidator(_written),
        AfterValidator(_in_utc),
        Field(description="the job fails if it is not done by then; RFC 3339 with time zone"),
    ] = None

    def spec(self) -> AnySpec:
        """What is to be done."""
        kind = SPECS[self.type]  # type: ignore[attr-defined]  # each class below has it
        fields = {name: getattr(self, name) for name in kind.model_fields}
        return kind.model_construct(**fields)


class DiscriminatorTrainingIn(_JobFields, DiscriminatorTraining):
    """A loss to be trained."""


def _require_type(schema: dict[str, Any]) -> None:
    schema["required"] = [*schema.get("required", ()), "type"]


class RestorationTrainingIn(_JobFields, RestorationTraining):
    """A model to be trained."""

    model_config = ConfigDict(json_schema_extra=_require_type)


class RestorationIn(_JobFields, Restoration):
    """Images to be restored."""

    model_config = ConfigDict(json_schema_extra=_require_type)


class EvaluationIn(_JobFields, Evaluation):
    """Models to be compared."""

    model_config = ConfigDict(json_schema_extra=_require_type)


def _type_of(body: Any) -> Any:
    if isinstance(body, dict):
        return body.get("type", "discriminator_training")
    return getattr(body, "type", "discriminator_training")


class JobIn(
    RootModel[
        Annotated[
            Annotated[DiscriminatorTrainingIn, Tag("discriminator_training")]
            | Annotated[RestorationTrainingIn, Tag("restoration_training")]
            | Annotated[RestorationIn, Tag("restoration")]
            | Annotated[EvaluationIn, Tag("evaluation")],
            Discriminator(
                _type_of,
                custom_error_type="job_type",
                custom_error_message="needs a `type` out of 'discriminator_training', "
                "'restoration_training', 'restoration', 'evaluation'; without one it is the first",
            ),
        ]
    ]
):
    """A job to be done; `type` says what, and is `discriminator_training` if it is left out."""


class TrainingIn(
    RootModel[
        Annotated[
            Annotated[DiscriminatorTrainingIn, Tag("discriminator_training")]
            | Annotated[RestorationTrainingIn, Tag("restoration_training")],
            Discriminator(
                _type_of,
                custom_error_type="job_type",
                custom_error_message="needs a `type` out of 'discriminator_training' and "
                "'restoration_training', as nothing else is estimated; without one it is the first",
            ),
        ]
    ]
):
    """A training, as in JobIn."""


class EstimateOut(Out):
    """What a training will take; a range, because nobody knows better."""

    seconds_low: Annotated[float | None, Field(description="shortest likely run; null: not known")]
    seconds_high: Annotated[float | None, Field(description="longest likely run; null: not known")]
    memory_bytes: Annotated[int | None, Field(description="needed at most; null: not known")]
    memory: Annotated[Literal["host", "gpu"], Field(description="whose memory that is")]
    basis: Annotated[str, Field(description="what this rests on, in words")]
    trainings: Annotated[int, Field(description="finished ones here that it rests on")]
    jobs_ahead: Annotated[int, Field(description="that wait already for a worker")]
    wait_seconds: Annotated[float | None, Field(description="until it can start; null: not known")]

    @classmethod
    def of(cls, estimate: Estimate) -> Self:
        """As it was made."""
        low, high = estimate.seconds or (None, None)
        return cls(
            seconds_low=low,
            seconds_high=high,
            memory_bytes=estimate.memory_bytes,
            memory=estimate.memory,
            basis=estimate.basis,
            trainings=estimate.trainings,
            jobs_ahead=estimate.jobs_ahead,
            wait_seconds=estimate.wait_seconds,
        )


class JobChange(In):
    """What may be changed of a job."""

    name: Name | None = None
    priority: Priority | None = None


class ProgressOut(Out):
    """Where a job is: iteration `step` of `steps` in `scale` of `scales`, counted from 1."""

    scale: int
    scales: int
    step: int
    steps: int
    fraction: Annotated[float, Field(ge=0, le=1, description="of all the work")]
    metrics: dict[str, float] = {}


class JobErrorOut(Out):
    """Why a job failed."""

    code: Code
    message: str
    retryable: Annotated[bool, Field(description="whether a retry may well succeed")]


class JobOut(Out):
    """A job."""

    id: str
    type: JobType
    name: str
    state: State
    spec: Annotated[
        dict[str, Any], Field(description="as submitted, with `recipe` complete: see JobIn")
    ]
    attempt: Annotated[int, Field(description="how often it was started")]
    max_attempts: int
    priority: int
    queue_position: Annotated[int | None, Field(description="1 is next; null if not queued")]
    eta_seconds: float | None
    progress: ProgressOut | None
    error: JobErrorOut | None
    loss_id: Annotated[str | None, Field(description="the loss that it made")]
    model_id: Annotated[str | None, Field(description="the model that it made")]
    dataset_id: Annotated[str | None, Field(description="the data set that it makes")]
    evaluation_id: Annotated[str | None, Field(description="the evaluation that it made")]
    checkpoint_at: Annotated[datetime | None, Field(description="a resume loses what came after")]
    created: datetime
    queued: datetime
    started: datetime | None
    finished: datetime | None
    deadline: datetime | None
    run_seconds: Annotated[float, Field(description="over all attempts")]

    @classmethod
    def of(
        cls,
        job: Job,
        *,
        made: Made,
        queue_position: int | None,
        eta_seconds: float | None,
        max_attempts: int,
    ) -> Self:
        """From its row and what is found out beside it."""
        columns = {name: getattr(job, name) for name in cls.model_fields if hasattr(job, name)}
        return cls(
            **columns,
            loss_id=made.loss_id,
            model_id=made.model_id,
            dataset_id=made.dataset_id,
            evaluation_id=made.evaluation_id,
            queue_position=queue_position,
            eta_seconds=eta_seconds,
            max_attempts=max_attempts,
        )


class EventOut(Out):
    """One line of a job's log."""

    seq: Annotated[int, Field(description="rises by one from 1")]
    kind: Annotated[
        str, Field(description="`state`, `progress`, `sample`, `checkpoint`, `log` or `artifact`")
    ]
    content: dict[str, Any]
    created: datetime


class MetricOut(Out):
    """The named values of one iteration."""

    scale: int
    step: int
    values: dict[str, float | None]

    @classmethod
    def of(cls, metric: JobMetric) -> Self:
        """From its row."""
        return cls(scale=metric.scale, step=metric.step, values=metric.content)


class SampleOut(Out):
    """A picture made while a job ran."""

    id: str
    scale: int
    step: int
    kind: Annotated[
        str,
        Field(
            description="`seed`, `generated` or `map`; of a model `degraded-1`, `restored-1`, "
            "`target-1` and so on; of an evaluation `input`, `restored-1` and so on, `reference`"
        ),
    ]
    created: datetime
    href: str

    @classmethod
    def of(cls, sample: JobSample) -> Self:
        """From its row."""
        href = f"/v1/jobs/{sample.job_id}/samples/{sample.id}/content"
        columns = {name: getattr(sample, name) for name in cls.model_fields if name != "href"}
        return cls(**columns, href=href)


class ArtifactOut(Out):
    """A file that a job published."""

    kind: str
    media_type: str
    size: Annotated[int, Field(description="bytes")]
    sha256: str
    href: str

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        """From its row."""
        href = f"/v1/jobs/{artifact.job_id}/artifacts/{artifact.kind}/content"
        columns = {name: getattr(artifact, name) for name in cls.model_fields if name != "href"}
        return cls(**columns, href=href)


class DatasetIn(In):
    """A data set to be made."""

    name: Annotated[Name, Field(min_length=1)]
    source: AnySource
    on_bad_file: Annotated[
        OnBadFile,
        Field(description="leave out what is no good picture, and list it; or take none at all"),
    ] = "skip"


class BadFileOut(Out):
    """A file that was not taken."""

    name: str
    reason: str


class DatasetOut(Out):
    """A set of pictures to train restorers on."""

    id: str
    name: str
    state: DatasetState
    source: Annotated[dict[str, Any], Field(description="as given")]
    on_bad_file: OnBadFile
    size: Annotated[int | None, Field(description="of the archive, bytes; null for a folder")]
    received: Annotated[int, Field(description="bytes of the archive that are there")]
    job_id: Annotated[str | None, Field(description="the job that imports it")]
    images: int
    pixels: Annotated[int, Field(description="of all images together")]
    digest: Annotated[
        str | None,
        Field(description="SHA-256 over the digests of its images, in hexadecimal and by line"),
    ]
    bad_files: Annotated[list[BadFileOut], Field(description="the first thousand")]
    bad_file_count: int
    error: Annotated[str | None, Field(description="why it failed")]
    ready: datetime | None
    created: datetime

    @classmethod
    def of(cls, described: Described) -> Self:
        """From its row and its job's."""
        row = described.dataset
        columns = {name: getattr(row, name) for name in cls.model_fields if hasattr(row, name)}
        columns["bad_files"] = [BadFileOut.model_validate(each) for each in row.bad_files]
        return cls(**columns, state=described.state, error=described.error)


class DatasetImageOut(Out):
    """One picture of a data set."""

    position: Annotated[int, Field(description="from 0, in the order of names")]
    name: str
    digest: Annotated[str, Field(description="SHA-256 of the size and the 8-bit RGB pixels")]
    width: Annotated[int, Field(description="px")]
    height: Annotated[int, Field(description="px")]
    size: Annotated[int, Field(description="of the PNG, bytes")]
    href: str

    @classmethod
    def of(cls, image: DatasetImage) -> Self:
        """From its row."""
        href = f"/v1/datasets/{image.dataset_id}/images/{image.position}/content"
        columns = {name: getattr(image, name) for name in cls.model_fields if name != "href"}
        return cls(**columns, href=href)


class LossFileOut(Out):
    """One downloadable form of a loss."""

    format: LossFormat
    size: Annotated[int, Field(description="bytes")]
    sha256: str


class ModelFileOut(Out):
    """One downloadable form of a model."""

    format: ModelFormat
    size: Annotated[int, Field(description="bytes")]
    sha256: str


class ModelOut(Out):
    """A trained or imported model: a restoration network."""

    id: str
    name: str
    job_id: Annotated[str | None, Field(description="the job that trained it")]
    manifest: Annotated[
        dict[str, Any],
        Field(description="network, task, loss, data set, recipe, metrics, software"),
    ]
    sha256: Annotated[str, Field(description="of the safetensors file")]
    files: list[ModelFileOut]
    created: datetime

    @classmethod
    def of(cls, model: Model, files: list[ModelFile]) -> Self:
        """From its row and its files'."""
        columns = {name: getattr(model, name) for name in cls.model_fields if name != "files"}
        return cls(**columns, files=[ModelFileOut.model_validate(file) for file in files])


class LossOut(Out):
    """A trained or imported loss."""

    id: str
    name: str
    job_id: Annotated[str | None, Field(description="the job that trained it")]
    manifest: Annotated[
        dict[str, Any], Field(description="task, recipe, widths, taps, seed digests, software")
    ]
    sha256: Annotated[str, Field(description="of the safetensors file")]
    files: list[LossFileOut]
    created: datetime

    @classmethod
    def of(cls, loss: Loss, files: list[LossFile]) -> Self:
        """From its row and its files'."""
        columns = {name: getattr(loss, name) for name in cls.model_fields if name != "files"}
        return cls(**columns, files=[LossFileOut.model_validate(file) for file in files])


class ScoredDatasetOut(Out):
    """The data set of an evaluation, as it was then."""

    id: str
    name: str
    digest: str | None
    images: Annotated[int, Field(description="that were measured")]
    held_out: Annotated[
        bool, Field(description="whether they are what trainings on this data set held out")
    ]


class YardstickOut(Out):
    """What images are scored by."""

    name: Annotated[str, Field(description="of a metric, or the id of a loss")]
    label: str
    unit: Annotated[str, Field(description="`dB`, or empty for a plain number")]
    higher_is_better: bool


class ScoresOut(Out):
    """What one model scores by one metric."""

    n: Annotated[int, Field(description="images")]
    mean: float
    mean_interval: Annotated[
        tuple[float, float] | None,
        Field(description="95 % confidence interval by Student's t; null for one image"),
    ]
    worst: Annotated[float, Field(description="5 % of the images score worse than this")]
    worst_interval: Annotated[
        tuple[float, float] | None, Field(description="95 % interval of `worst`, by bootstrap")
    ]


class CandidateOut(Out):
    """A model that was compared, as it was then; or the degraded image itself, `input`."""

    id: Annotated[str, Field(description="`model_…` or `input`")]
    name: str
    network: Annotated[dict[str, Any] | None, Field(description="null for `input`")]
    loss: Annotated[dict[str, Any] | None, Field(description="that it was trained with, if known")]
    sha256: Annotated[str | None, Field(description="of its safetensors file")]
    trained_on_these: Annotated[
        bool, Field(description="whether its training may have seen these images")
    ]
    results: Annotated[dict[str, ScoresOut], Field(description="by metric")]


class PairedTestOut(Out):
    """A one-tailed paired t-test at 0.05: whether `first` scores better than `second`."""

    metric: str
    first: str
    second: str
    advantage: Annotated[
        float, Field(description="of `first`, the mean over images; above 0 is better")
    ]
    t: Annotated[float | None, Field(description="null if all images have the same difference")]
    p: Annotated[
        float | None,
        Field(description="of `first` being no better; 1 − p is that of the reverse test"),
    ]
    better: Annotated[
        str | None, Field(description="the one that is significantly better, if either is")
    ]


class EvaluationOut(Out):
    """What an evaluation compared."""

    id: str
    name: str
    job_id: Annotated[str, Field(description="the job that made it, and with which it goes")]
    task: Annotated[dict[str, Any], Field(description="what was done to the images")]
    dataset: ScoredDatasetOut
    crop: Annotated[int, Field(description="px; of larger images the centre was taken")]
    random_seed: int
    metrics: list[YardstickOut]
    model_ids: list[str]
    created: datetime

    @classmethod
    def of(cls, row: schema.Evaluation) -> Self:
        """From its row."""
        known = {"id": row.id, "name": row.name, "job_id": row.job_id, "created": row.created}
        compared = [each["id"] for each in row.summary["candidates"] if each["id"] != INPUT]
        return cls.model_validate({**row.summary, **known, "model_ids": compared})


class WholeEvaluationOut(EvaluationOut):
    """What an evaluation compared, and what came of it."""

    candidates: Annotated[
        list[CandidateOut], Field(description="`input` first, then the models as named")
    ]
    comparisons: Annotated[
        list[PairedTestOut], Field(description="of each two candidates, by each metric")
    ]


class ImageScoresOut(Out):
    """What the candidates score on one image."""

    position: Annotated[int, Field(description="among the images measured, from 0")]
    dataset_position: Annotated[int, Field(description="in the data set, from 0")]
    name: str
    width: Annotated[int, Field(description="of what was measured, px")]
    height: Annotated[int, Field(description="of what was measured, px")]
    values: Annotated[
        dict[str, dict[str, float]], Field(description="by candidate, then by metric")
    ]
    pictures: Annotated[
        dict[str, str],
        Field(
            description="paths of PNGs, by candidate and `reference`: at most 512 px from the "
            "centre, of at most 12 images"
        ),
    ]

    @classmethod
    def of(cls, image: ImageScores, job_id: str) -> Self:
        """As the job has it."""
        paths = {
            shown: f"/v1/jobs/{job_id}/samples/{sample}/content"
            for shown, sample in image.pictures.items()
        }
        return cls(**vars(image) | {"pictures": paths})


class ImageIn(In):
    """An image of the catalogue."""

    image_id: Annotated[str, Field(max_length=64, description="`img_…`")]


class NameChange(In):
    """Another name."""

    name: Name


class ComparisonIn(In):
    """Two images to compare with a loss."""

    image_id: Annotated[str, Field(description="the restored image")]
    reference_image_id: Annotated[str, Field(description="the image it should be")]
    maps: Annotated[bool, Field(description="whether to draw where the differences are")] = False
    gradient: Annotated[
        bool, Field(description="whether to draw which way the loss would push each pixel")
    ] = False


class TermOut(Out):
    """The share of one scale and tap in the value."""

    scale: Annotated[int, Field(description="0 is the coarsest")]
    tap: str
    value: float


class DifferenceMapOut(Out):
    """Where one scale and tap see a difference: dark is none, bright is `peak`."""

    scale: int
    tap: str
    peak: float
    png_base64: str


class GradientOut(Out):
    """Which way descent on the loss changes each pixel: red brighter, blue darker, white not.

    Full colour is `peak`, the derivative by the brightness of one pixel, which 0.5 % exceed.
    """

    peak: float
    png_base64: str


class ComparisonOut(Out):
    """A loss's value for two images, and where it comes from."""

    value: float
    terms: list[TermOut]
    maps: list[DifferenceMapOut]
    gradient: Annotated[GradientOut | None, Field(description="if it was asked for")]


class MeasurementOut(Out):
    """A metric's value, and how to read it."""

    name: str
    label: str
    unit: Annotated[str, Field(description="dB, or empty")]
    higher_is_better: bool
    value: float


class MeasurementsOut(Out):
    """How close an image is to its reference."""

    metrics: Annotated[
        list[MeasurementOut], Field(description="those that take images of this size")
    ]


class QuotasIn(In):
    """Quotas of a key; null stands for what the service's settings say."""

    requests_per_minute: Annotated[
        int | None, Field(ge=1, le=10**9, description="those of a minute at once at most")
    ] = None
    stored_bytes: Annotated[
        int | None, Field(ge=0, le=2**53, description="of all that the key's owner has stored")
    ] = None
    queued_jobs: Annotated[int | None, Field(ge=0, le=10**9, description="of the key's owner")] = (
        None
    )
    running_jobs: Annotated[
        int | None,
        Field(ge=1, le=10**9, description="of the key's owner; further ones wait in the queue"),
    ] = None


class QuotasOut(Out):
    """Quotas of a key, or of a caller."""

    requests_per_minute: int | None = None
    stored_bytes: int | None = None
    queued_jobs: int | None = None
    running_jobs: int | None = None


class KeyIn(In):
    """A key to be made."""

    name: Annotated[str, Field(pattern=keys.NAME, description="what the key is for")]
    owner: Annotated[
        str | None, Field(pattern=keys.OWNER, description="default: the caller's owner")
    ] = None
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=3)]
    quotas: QuotasIn = QuotasIn()


class KeyChange(In):
    """What may be changed of a key."""

    name: Annotated[str | None, Field(pattern=keys.NAME)] = None
    quotas: Annotated[
        QuotasIn | None, Field(description="those that are left out stay as they are")
    ] = None


class KeyOut(Out):
    """A key; its secret is not kept."""

    id: str
    name: str
    owner: str
    scopes: list[Scope]
    quotas: Annotated[QuotasOut, Field(description="its own; null where the settings hold")]
    created: datetime
    last_used: Annotated[datetime | None, Field(description="to a minute")]
    revoked: datetime | None


class NewKeyOut(KeyOut):
    """A key that has just been made."""

    secret: Annotated[
        str | None,
        Field(description="the bearer token; told once, null when the request is replayed"),
    ]


class SessionIn(In):
    """What a browser logs in with."""

    api_key: Annotated[
        str, Field(min_length=1, max_length=200, description="an API key: `mdf_<id>_<secret>`")
    ]


class SessionOut(Out):
    """A browser session: whom its cookie stands for, and until when."""

    owner: str
    scopes: list[Scope]
    key_id: str
    created: datetime
    expires: datetime


class HostMemoryOut(Out):
    """Memory of a host, bytes."""

    total: int
    available: int


class ProcessMemoryOut(Out):
    """Memory of a slot's processes, its job's included, bytes."""

    resident: int


class HostDiskOut(Out):
    """Disk below MDF_HOME of a host, bytes."""

    total: int
    free: int


class GpuMemoryOut(Out):
    """Memory of a GPU, bytes."""

    total: int
    used: int


class GpuOut(Out):
    """A GPU as its driver tells of it."""

    index: str
    name: str
    memory: GpuMemoryOut
    utilization: Annotated[
        float | None, Field(ge=0, le=1, description="share of the time in which it computes")
    ] = None


class ResourcesOut(Out):
    """What a slot's host has and what is left of it; null where it cannot be had."""

    memory: HostMemoryOut | None = None
    process: ProcessMemoryOut | None = None
    disk: HostDiskOut | None = None
    gpus: list[GpuOut] = []


class WorkerOut(Out):
    """A worker slot."""

    id: str
    host: str
    pid: int
    device: str
    job_id: Annotated[str | None, Field(description="null also for another owner's job")]
    resources: ResourcesOut
    started: datetime
    last_seen: datetime

    @classmethod
    def of(cls, worker: Worker, job_id: str | None) -> Self:
        """From its row, with the job that the caller may see."""
        columns = {name: getattr(worker, name) for name in cls.model_fields if name != "job_id"}
        return cls(**columns, job_id=job_id)


WebhookUrl = Annotated[
    str,
    Field(
        max_length=2000,
        pattern=r"^https?://[^\s\x00-\x1f\x7f/?#@]+([/?#][^\s\x00-\x1f\x7f]*)?$",
        description="http(s), without user and password",
    ),
]
WebhookEvents = Annotated[
    list[Event], Field(min_length=1, max_length=len(EVENTS), description="what it is told")
]


class WebhookIn(In):
    """A webhook to be made."""

    url: WebhookUrl
    name: Annotated[Name, Field(description="what it is for")] = ""
    events: WebhookEvents = list(EVENTS)


class WebhookChange(In):
    """What may be changed of a webhook."""

    url: WebhookUrl | None = None
    name: Name | None = None
    events: WebhookEvents | None = None
    enabled: Annotated[
        bool | None,
        Field(description="one that is not is told nothing; enable one that failed for too long"),
    ] = None


class WebhookOut(Out):
    """An address that is told when jobs end."""

    id: str
    name: str
    url: str
    events: list[Event]
    enabled: bool
    disabled: datetime | None
    disabled_reason: str | None
    failing_since: Annotated[
        datetime | None, Field(description="no message has arrived since; null after a success")
    ]
    created: datetime

    @classmethod
    def of(cls, webhook: Webhook) -> Self:
        """From its row."""
        columns = {name: getattr(webhook, name) for name in cls.model_fields if name != "enabled"}
        return cls(**columns, enabled=webhook.disabled is None)


class NewWebhookOut(WebhookOut):
    """A webhook whose secret has just been made."""

    secret: Annotated[
        str | None,
        Field(
            description="`whsec_…`, which signs its messages; told once, null when the request is "
            "replayed"
        ),
    ]


class DeliveryOut(Out):
    """A message to a webhook, and how far it has come."""

    id: Annotated[str, Field(description="as in the header `webhook-id`")]
    webhook_id: str
    event: Annotated[str, Field(description="as the webhook's `events`, or `webhook.ping`")]
    job_id: Annotated[str | None, Field(description="the job that it is about")]
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    due: Annotated[datetime | None, Field(description="of the next attempt; null if none follows")]
    status: Annotated[int | None, Field(description="HTTP status of the last attempt")]
    fault: Annotated[str | None, Field(description="why the last attempt failed")]
    created: datetime
    delivered: datetime | None

    @classmethod
    def of(cls, delivery: WebhookDelivery) -> Self:
        """From its row."""
        columns = {name: getattr(delivery, name) for name in cls.model_fields if name != "job_id"}
        data = delivery.content["data"]
        found_out = {
            "job_id": data["id"] if delivery.event.startswith("job.") else None,
            "due": delivery.due if delivery.state == "pending" else None,
        }
        return cls(**columns | found_out)


class MessageOut(DeliveryOut):
    """A message to a webhook, with what it says."""

    content: Annotated[dict[str, Any], Field(description="`type`, `timestamp` and `data`")]


class MeOut(Out):
    """Whom the service takes the caller for."""

    owner: str
    scopes: list[Scope]
    key_id: Annotated[str | None, Field(description="null without API keys")]
    quotas: Annotated[QuotasOut, Field(description="in force; null where there is no limit")]
    stored_bytes: Annotated[int, Field(description="of the owner")]
    queued_jobs: Annotated[int, Field(description="of the owner")]
    running_jobs: Annotated[int, Field(description="of the owner")]


class HealthOut(Out):
    """A sign of life."""

    status: Literal["ok"] = "ok"


class ReadinessOut(Out):
    """Which of the parts that requests need are there."""

    status: Literal["ok", "unavailable"]
    checks: Annotated[dict[str, str], Field(description="`ok`, or what is wrong, by part")]


class UseOut(Out):
    """Objects of one kind."""

    count: int
    size: Annotated[int, Field(description="of their files, bytes")]


class UsageOut(Out):
    """What an owner has; objects that share a file count it each."""

    owner: str
    stored_bytes: Annotated[int, Field(description="of all kinds together")]
    kinds: dict[usage.Kind, UseOut]
    queued_jobs: int
    running_jobs: int

    @classmethod
    def of(cls, owner: str, used: usage.Usage) -> Self:
        """From the sums over the rows."""
        return cls(
            owner=owner,
            stored_bytes=used.stored_bytes,
            kinds={kind: UseOut.model_validate(use) for kind, use in used.kinds.items()},
            queued_jobs=used.queued_jobs,
            running_jobs=used.running_jobs,
        )
