"""What the service answers, as frozen dataclasses.

Fields that a newer server adds are ignored; a field that is missing and has no default
here is a `ProtocolError`.
"""

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from mdf.errors import ProtocolError

Record = TypeVar("Record")

# A job in one of these states never changes again, unless it is retried.
FINAL_STATES = frozenset({"succeeded", "failed", "canceled", "expired"})


@dataclass(frozen=True)
class Image:
    """A stored image; `digest` is the SHA-256 of its pixels, `size` that of its PNG in bytes."""

    id: str
    name: str
    digest: str
    width: int
    height: int
    size: int
    created: datetime
    source: dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """Where a job is: iteration `step` of `steps` in `scale` of `scales`, counted from 1."""

    scale: int
    scales: int
    step: int
    steps: int
    fraction: float
    eta_seconds: float | None = None
    metrics: dict[str, float] | None = None


@dataclass(frozen=True)
class JobError:
    """Why a job failed."""

    code: str
    message: str
    retryable: bool = False


@dataclass(frozen=True)
class Job:
    """A unit of work on the server."""

    id: str
    type: str
    name: str
    state: str
    spec: dict[str, Any]
    created: datetime
    attempt: int = 0
    max_attempts: int | None = None
    priority: int = 0
    queue_position: int | None = None
    eta_seconds: float | None = None
    progress: Progress | None = None
    error: JobError | None = None
    loss_id: str | None = None
    model_id: str | None = None
    dataset_id: str | None = None
    evaluation_id: str | None = None
    checkpoint_at: datetime | None = None
    queued: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    deadline: datetime | None = None
    run_seconds: float = 0.0

    @property
    def done(self) -> bool:
        """Whether the job has ended, well or not."""
        return self.state in FINAL_STATES

    @property
    def succeeded(self) -> bool:
        """Whether the job has ended with its result."""
        return self.state == "succeeded"


@dataclass(frozen=True)
class Estimate:
    """What a training will take: a range of seconds and bytes of memory; None if not known.

    `memory` says whose: "host" or "gpu". `basis` says what it rests on, `trainings` on how many
    finished ones there. `wait_seconds` pass before it can start, behind `jobs_ahead` others.
    """

    seconds_low: float | None
    seconds_high: float | None
    memory_bytes: int | None
    memory: str
    basis: str
    trainings: int = 0
    jobs_ahead: int = 0
    wait_seconds: float | None = None


@dataclass(frozen=True)
class Event:
    """One line of a job's log; `seq` rises by one from 1."""

    seq: int
    kind: str
    content: dict[str, Any]
    created: datetime

    @property
    def progress(self) -> Progress | None:
        """The content of an event of kind `progress`."""
        return parse(Progress, self.content) if self.kind == "progress" else None

    @property
    def state(self) -> str | None:
        """The state that an event of kind `state` tells of."""
        return str(self.content["state"]) if self.kind == "state" else None


@dataclass(frozen=True)
class Deleted:
    """What was deleted; files that other objects have stay, and count for nothing."""

    id: str
    bytes_freed: int


@dataclass(frozen=True)
class Metric:
    """The named values of one iteration."""

    scale: int
    step: int
    values: dict[str, float]


@dataclass(frozen=True)
class Sample:
    """A picture made while a job ran.

    `kind` is `seed`, `generated` or `map` in the training of a loss; `degraded-1`, `restored-1`,
    `target-1` and so on in that of a model; `input`, `restored-1` and so on, and `reference` in an
    evaluation.
    """

    id: str
    scale: int
    step: int
    kind: str
    created: datetime


@dataclass(frozen=True)
class Artifact:
    """A file that a job published besides its loss or model."""

    kind: str
    media_type: str
    size: int
    sha256: str


@dataclass(frozen=True)
class BadFile:
    """A file that a data set's import has not taken."""

    name: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """A set of pictures: `state` is `uploading`, `importing`, `ready` or `failed`.

    `size` and `received` are bytes of its archive, `pixels` those of all images together, and
    `bad_files` the first thousand of `bad_file_count`.
    """

    id: str
    name: str
    state: str
    source: dict[str, Any]
    created: datetime
    on_bad_file: str = "skip"
    size: int | None = None
    received: int = 0
    job_id: str | None = None
    images: int = 0
    pixels: int = 0
    digest: str | None = None
    bad_files: tuple[BadFile, ...] = ()
    bad_file_count: int = 0
    error: str | None = None
    ready: datetime | None = None

    @property
    def done(self) -> bool:
        """Whether its import has ended, well or not."""
        return self.state in {"ready", "failed"}


@dataclass(frozen=True)
class DatasetImage:
    """One picture of a data set; `digest` is the SHA-256 of its pixels, `size` its PNG's bytes."""

    position: int
    name: str
    digest: str
    width: int
    height: int
    size: int


@dataclass(frozen=True)
class LossFile:
    """One downloadable form of a loss; `size` in bytes."""

    format: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Loss:
    """A trained or imported loss in the catalogue; `sha256` is that of the safetensors file."""

    id: str
    name: str
    sha256: str
    manifest: dict[str, Any]
    created: datetime
    job_id: str | None = None
    files: tuple[LossFile, ...] = ()


@dataclass(frozen=True)
class ModelFile:
    """One downloadable form of a model; `size` in bytes."""

    format: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Model:
    """A trained or imported restorer; `sha256` is that of the safetensors file."""

    id: str
    name: str
    sha256: str
    manifest: dict[str, Any]
    created: datetime
    job_id: str | None = None
    files: tuple[ModelFile, ...] = ()


@dataclass(frozen=True)
class Term:
    """The share of one scale and tap in a loss value."""

    scale: int
    tap: str
    value: float


@dataclass(frozen=True)
class DifferenceMap:
    """Where one scale and tap see a difference: a PNG in base64, bright where it is `peak`."""

    scale: int
    tap: str
    png_base64: str
    peak: float | None = None


@dataclass(frozen=True)
class Gradient:
    """Which way descent changes each pixel: a PNG in base64, red brighter and blue darker.

    Full colour is `peak`, the derivative by the brightness of one pixel, which 0.5 % exceed.
    """

    png_base64: str
    peak: float


@dataclass(frozen=True)
class Comparison:
    """A loss's value for two images, and where it comes from."""

    value: float
    terms: tuple[Term, ...]
    maps: tuple[DifferenceMap, ...] = ()
    gradient: Gradient | None = None


@dataclass(frozen=True)
class Yardstick:
    """What images are scored by: a metric, or a loss by its id; `unit` is empty if it has none."""

    name: str
    label: str
    unit: str
    higher_is_better: bool


@dataclass(frozen=True)
class Scores:
    """What one model scores on `n` images: 5 % of them score worse than `worst`.

    The intervals, of 95 %, are None for one image.
    """

    n: int
    mean: float
    worst: float
    mean_interval: tuple[float, ...] | None = None
    worst_interval: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Candidate:
    """A model that was compared, as it was then, with its results by metric.

    That of the id `input` is the degraded image itself.
    """

    id: str
    name: str
    results: dict[str, Scores]
    network: dict[str, Any] | None = None
    loss: dict[str, Any] | None = None
    sha256: str | None = None
    trained_on_these: bool = False


@dataclass(frozen=True)
class PairedTest:
    """A one-tailed paired t-test of `first` scoring better than `second`.

    `advantage` is that of `first`, `better` the one that is significantly better, if either is.
    """

    metric: str
    first: str
    second: str
    advantage: float
    t: float | None = None
    p: float | None = None
    better: str | None = None


@dataclass(frozen=True)
class ScoredDataset:
    """The data set of an evaluation, as it was then, and how many `images` were measured."""

    id: str
    name: str
    images: int
    digest: str | None = None
    held_out: bool = False


@dataclass(frozen=True)
class Evaluation:
    """Models compared by measurement. `candidates` and `comparisons` are empty in lists."""

    id: str
    name: str
    job_id: str
    task: dict[str, Any]
    dataset: ScoredDataset
    metrics: tuple[Yardstick, ...]
    model_ids: tuple[str, ...]
    created: datetime
    crop: int | None = None
    random_seed: int = 0
    candidates: tuple[Candidate, ...] = ()
    comparisons: tuple[PairedTest, ...] = ()


@dataclass(frozen=True)
class ImageScores:
    """What the candidates score on one image: `values` by candidate, then by metric.

    `pictures` are paths of PNGs on the server, by candidate and `reference`, for a few images.
    """

    position: int
    dataset_position: int
    name: str
    width: int
    height: int
    values: dict[str, dict[str, float]]
    pictures: dict[str, str]


@dataclass(frozen=True)
class Quotas:
    """How much a caller may have; None for what the settings say, or where there is no limit."""

    requests_per_minute: int | None = None
    stored_bytes: int | None = None
    queued_jobs: int | None = None
    running_jobs: int | None = None


@dataclass(frozen=True)
class ApiKey:
    """A caller's key. `secret`, the bearer token, is there only when the key is created."""

    id: str
    name: str
    owner: str
    scopes: tuple[str, ...]
    created: datetime
    last_used: datetime | None = None
    revoked: datetime | None = None
    secret: str | None = None
    quotas: Quotas | None = None  # its own


@dataclass(frozen=True)
class Webhook:
    """An address that is told when jobs end. `secret` is there only when it has been made."""

    id: str
    name: str
    url: str
    events: tuple[str, ...]
    enabled: bool
    created: datetime
    disabled: datetime | None = None
    disabled_reason: str | None = None
    failing_since: datetime | None = None
    secret: str | None = None


@dataclass(frozen=True)
class Delivery:
    """A message to a webhook; `content` is there only when it is fetched by itself."""

    id: str
    webhook_id: str
    event: str
    state: str
    attempts: int
    created: datetime
    job_id: str | None = None
    due: datetime | None = None
    status: int | None = None
    fault: str | None = None
    delivered: datetime | None = None
    content: dict[str, Any] | None = None


@dataclass(frozen=True)
class Worker:
    """A worker slot and its last sign of life."""

    id: str
    host: str
    pid: int
    device: str
    started: datetime
    last_seen: datetime
    resources: dict[str, Any]  # of its host: memory, process, disk (bytes), gpus
    job_id: str | None = None


@dataclass(frozen=True)
class Me:
    """Who the server takes the caller for."""

    owner: str
    scopes: tuple[str, ...]
    key_id: str | None = None
    quotas: Quotas | None = None  # in force
    stored_bytes: int | None = None  # of the owner, as are these
    queued_jobs: int | None = None
    running_jobs: int | None = None


@dataclass(frozen=True)
class Use:
    """Objects of one kind, and the bytes of their files."""

    count: int
    size: int


@dataclass(frozen=True)
class Usage:
    """What an owner has stored, by kind, and how many jobs wait and run."""

    owner: str
    stored_bytes: int
    kinds: dict[str, Use]
    queued_jobs: int
    running_jobs: int


@dataclass(frozen=True)
class Page(Sequence[Record], Generic[Record]):
    """One page of a list; `next_cursor` asks for the following one."""

    data: tuple[Record, ...]
    next_cursor: str | None = None

    def __getitem__(self, index: Any) -> Any:
        """The record at `index`."""
        return self.data[index]

    def __len__(self) -> int:
        """How many records this page holds."""
        return len(self.data)

    def __iter__(self) -> Iterator[Record]:
        """The records of this page."""
        return iter(self.data)


def parse(record: type[Record], content: Any) -> Record:
    """Build `record` from the JSON object `content`."""
    if not isinstance(content, Mapping):
        raise ProtocolError(f"the server sent {content!r:.80} where {record.__name__} was expected")
    given = {}
    for name, kind, required in _fields(record):
        if name in content:
            try:
                given[name] = _convert(kind, content[name])
            except (TypeError, ValueError) as error:
                raise ProtocolError(f"{record.__name__}.{name} from the server: {error}") from error
        elif required:
            raise ProtocolError(f"the server's {record.__name__} has no field {name!r}")
    return record(**given)


def plain(value: Any) -> Any:
    """`value` as JSON holds it: records as objects, times in RFC 3339."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _fields(record: Any) -> list[tuple[str, Any, bool]]:
    hints = _type_hints(record)
    return [(field.name, hints[field.name], field.default is MISSING) for field in fields(record)]


_type_hints = lru_cache(get_type_hints)


def _convert(kind: Any, value: Any) -> Any:
    if get_origin(kind) is types.UnionType:
        if value is None:
            return None
        kind = get_args(kind)[0]
    if get_origin(kind) is tuple:
        return tuple(_convert(get_args(kind)[0], item) for item in value)
    if get_origin(kind) is dict:
        held = get_args(kind)[1]
        return {
            name: _convert(held, item) if is_dataclass(held) else item
            for name, item in value.items()
        }
    if kind is datetime:
        return datetime.fromisoformat(value)
    if isinstance(kind, type) and is_dataclass(kind):
        return parse(kind, value)
    return kind(value)
