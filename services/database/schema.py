"""The tables. The SQL database is the truth about every object of the service."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UTCDateTime(TypeDecorator[datetime]):
    """A point in time, always aware and in UTC; SQLite keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To UTC; naive values are refused."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value}: every time here is aware")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_LARGE = BigInteger().with_variant(Integer(), "sqlite")  # whose integers have eight bytes


def now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Base of all tables; constraints have names, so that migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: UTCDateTime,
        dict[str, Any]: JSON,
        list[str]: JSON,
        list[dict[str, str]]: JSON,
    }


class ApiKey(Base):
    """A caller's key: only a keyed hash of its secret is kept."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    owner: Mapped[str] = mapped_column(index=True)
    scopes: Mapped[list[str]]  # of "read", "write", "admin"
    # Quotas of its own, by name; the settings' for those that are not there.
    quotas: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    secret_hash: Mapped[str]
    created: Mapped[datetime]
    last_used: Mapped[datetime | None]
    revoked: Mapped[datetime | None]


class Image(Base):
    """An uploaded or synthesised image, stored as PNG under the SHA-256 of its pixels."""

    __tablename__ = "images"
    __table_args__ = (UniqueConstraint("owner", "digest"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(index=True)
    digest: Mapped[str]
    blob: Mapped[str]
    name: Mapped[str]  # the uploaded file's name, or the synthetic seed's
    width: Mapped[int]
    height: Mapped[int]
    size: Mapped[int]  # of the stored PNG, bytes
    sha256: Mapped[str]  # of the stored PNG
    source: Mapped[dict[str, Any]]  # format, mode and what was converted; or the synthesis
    created: Mapped[datetime]


class Job(Base):
    """A unit of work. `state` moves only as `services.jobs.lifecycle` allows."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_state_created", "state", "created"),
        Index("ix_jobs_owner_state", "owner", "state"),
        # The line in which jobs wait, for each owner; only those that do are in it. The last
        # two are there to be read without the rows.
        Index(
            "ix_jobs_line",
            "type",
            "owner",
            "priority",
            "queued",
            "id",
            "running_cap",
            "state",
            sqlite_where=text("state = 'queued'"),
            postgresql_where=text("state = 'queued'"),
        ),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(index=True)
    type: Mapped[str]
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    state: Mapped[str]
    # What the owner last asked of a running job: "run", "pause", "finish" or "cancel".
    desired_state: Mapped[str]
    priority: Mapped[int]
    attempt: Mapped[int]
    # Attempts lost in a row since a checkpoint last showed a step forward.
    lost_attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    token: Mapped[int]  # fencing: raised at every claim and reclaim, named by every write
    lease_holder: Mapped[str | None]  # worker id
    lease_host: Mapped[str | None]
    lease_expires: Mapped[datetime | None] = mapped_column(index=True)
    checkpoint: Mapped[str | None]  # blob key
    checkpoint_at: Mapped[datetime | None]
    checkpoint_size: Mapped[int | None] = mapped_column(BigInteger)  # bytes
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    deadline: Mapped[datetime | None]
    last_seq: Mapped[int]  # of its event log
    created: Mapped[datetime]
    queued: Mapped[datetime]
    announced: Mapped[datetime | None]  # when its id was last published to the broker
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]
    run_seconds: Mapped[float]  # over all attempts
    # How many jobs of its owner may run at once for this one to start: the quota it came with.
    running_cap: Mapped[int | None]
    request_id: Mapped[str | None]  # of the request that submitted it, for the logs
    trace: Mapped[str | None]  # W3C `traceparent` of that request


class JobEvent(Base):
    """One line of a job's log; `seq` rises by one from 1."""

    __tablename__ = "job_events"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]  # "state", "progress", "sample", "checkpoint", "log", "artifact"
    content: Mapped[dict[str, Any]]
    created: Mapped[datetime]


class JobMetric(Base):
    """The named values of one iteration; written again after a resume, replaced."""

    __tablename__ = "job_metrics"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    scale: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[dict[str, Any]]


class JobSample(Base):
    """A picture made while a job ran."""

    __tablename__ = "job_samples"
    __table_args__ = (UniqueConstraint("job_id", "scale", "step", "kind"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    scale: Mapped[int]
    step: Mapped[int]
    kind: Mapped[str]
    blob: Mapped[str]
    size: Mapped[int] = mapped_column(default=0, server_default="0")  # bytes
    created: Mapped[datetime]


class Artifact(Base):
    """A file that a job published, once: unique by job and kind."""

    __tablename__ = "artifacts"
    __table_args__ = (UniqueConstraint("job_id", "kind"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[str]  # "contact_sheet", …
    media_type: Mapped[str]
    blob: Mapped[str]
    size: Mapped[int] = mapped_column(_LARGE)  # bytes
    sha256: Mapped[str]
    created: Mapped[datetime]


class Loss(Base):
    """A trained or imported loss in the catalogue."""

    __tablename__ = "losses"
    __table_args__ = (UniqueConstraint("job_id"), UniqueConstraint("owner", "sha256", "job_id"))
    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(index=True)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    name: Mapped[str]
    manifest: Mapped[dict[str, Any]]
    sha256: Mapped[str]  # of the safetensors file
    created: Mapped[datetime]


class LossFile(Base):
    """One downloadable form of a loss: `safetensors`, `pth` or `pt2`."""

    __tablename__ = "loss_files"
    loss_id: Mapped[str] = mapped_column(
        ForeignKey("losses.id", ondelete="CASCADE"), primary_key=True
    )
    format: Mapped[str] = mapped_column(primary_key=True)
    blob: Mapped[str]
    size: Mapped[int] = mapped_column(_LARGE)  # bytes
    sha256: Mapped[str]


class Dataset(Base):
    """A set of images to train restorers on; `ready` once its images are published."""

    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(index=True)
    name: Mapped[str]
    source: Mapped[dict[str, Any]]  # an archive that is uploaded, or a folder or bucket
    on_bad_file: Mapped[str]  # "skip" or "refuse"
    size: Mapped[int | None] = mapped_column(BigInteger)  # of the archive, bytes; null for a folder
    received: Mapped[int] = mapped_column(BigInteger)  # bytes of the archive that are stored
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    ready: Mapped[datetime | None]
    digest: Mapped[str | None]  # SHA-256 over the digests of its images, in order
    images: Mapped[int]
    pixels: Mapped[int] = mapped_column(BigInteger)  # of all images together
    bad_files: Mapped[list[dict[str, str]]]  # name and reason; the first thousand
    bad_file_count: Mapped[int]
    sheet: Mapped[str | None]  # blob of the thumbnail sheet, PNG
    created: Mapped[datetime]


class DatasetPart(Base):
    """A stretch of an archive that is being uploaded; gone once the data set is ready."""

    __tablename__ = "dataset_parts"
    dataset_id: Mapped[str] = mapped_column(
        ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True
    )
    offset: Mapped[int] = mapped_column(BigInteger, primary_key=True)  # bytes
    size: Mapped[int]  # bytes
    blob: Mapped[str]


class DatasetImage(Base):
    """One image of a data set, stored as PNG under the SHA-256 of its pixels."""

    __tablename__ = "dataset_images"
    # The sizes of a set's pictures, to be summed up without reading their rows.
    __table_args__ = (Index("ix_dataset_images_dataset_id_size", "dataset_id", "size"),)
    dataset_id: Mapped[str] = mapped_column(
        ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)  # from 0, in the order of names
    name: Mapped[str]
    digest: Mapped[str] = mapped_column(index=True)
    blob: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    size: Mapped[int]  # of the PNG, bytes
    sha256: Mapped[str]  # of the PNG


class DatasetReservation(Base):
    """A picture that an unfinished import has stored, or found: its file must stay."""

    __tablename__ = "dataset_reservations"
    dataset_id: Mapped[str] = mapped_column(
        ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True
    )
    digest: Mapped[str] = mapped_column(primary_key=True, index=True)


class Model(Base):
    """A trained or imported restorer in the catalogue."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("job_id"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(index=True)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    name: Mapped[str]
    manifest: Mapped[dict[str, Any]]
    sha256: Mapped[str]  # of the safetensors file
    created: Mapped[datetime]


class ModelFile(Base):
    """One downloadable form of a model: `safetensors`, `onnx` or `pt2`."""

    __tablename__ = "model_files"
    model_id: Mapped[str] = mapped_column(
        ForeignKey("models.id", ondelete="CASCADE"), primary_key=True
    )
    format: Mapped[str] = mapped_column(primary_key=True)
    blob: Mapped[str]
    size: Mapped[int] = mapped_column(_LARGE)  # bytes
    sha256: Mapped[str]


class Evaluation(Base):
    """What a job found out about models; its values and pictures are files of the job."""

    __tablename__ = "evaluations"
    __table_args__ = (UniqueConstraint("job_id"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(index=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    name: Mapped[str]
    summary: Mapped[dict[str, Any]]  # as `services.evaluation.report` writes it
    created: Mapped[datetime]


class IdempotencyKey(Base):
    """The first answer to a creating request, kept for 24 hours."""

    __tablename__ = "idempotency_keys"
    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_digest: Mapped[str]
    answer: Mapped[dict[str, Any]]  # status, headers and body, as `services.idempotency` keeps them
    created: Mapped[datetime] = mapped_column(index=True)


class Worker(Base):
    """A worker slot and its last sign of life."""

    __tablename__ = "workers"
    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    device: Mapped[str]  # "cpu" or "cuda:0 NVIDIA …"
    job_id: Mapped[str | None]
    resources: Mapped[dict[str, Any]] = mapped_column(
        default=dict, server_default="{}"
    )  # memory, disk, GPU
    started: Mapped[datetime]
    last_seen: Mapped[datetime]


class Share(Base):
    """When an owner's turn in a queue last came: a slot serves the one who waits longest."""

    __tablename__ = "shares"
    queue: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(primary_key=True)
    served: Mapped[datetime]


class BrowserSession(Base):
    """A browser that has logged in with an API key, and holds a cookie for it."""

    __tablename__ = "browser_sessions"
    id: Mapped[str] = mapped_column(primary_key=True)  # SHA-256 of the cookie's token
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    created: Mapped[datetime]
    expires: Mapped[datetime] = mapped_column(index=True)


class Webhook(Base):
    """An address that is told when jobs end."""

    __tablename__ = "webhooks"
    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(index=True)
    name: Mapped[str]
    url: Mapped[str]
    events: Mapped[list[str]]
    secret: Mapped[str]  # needed to sign; shown once
    previous_secret: Mapped[str | None]  # signs too until `previous_until`
    previous_until: Mapped[datetime | None]
    created: Mapped[datetime]
    disabled: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]
    failing_since: Mapped[datetime | None]


class WebhookDelivery(Base):
    """One message to one webhook, from the transaction that made it until it has arrived."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index("ix_webhook_deliveries_state_due", "state", "due"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    webhook_id: Mapped[str] = mapped_column(
        ForeignKey("webhooks.id", ondelete="CASCADE"), index=True
    )
    event: Mapped[str]
    content: Mapped[dict[str, Any]]
    state: Mapped[str]  # "pending", "delivered" or "failed"
    attempts: Mapped[int]
    due: Mapped[datetime]  # of the next attempt; pushed ahead while one is under way
    status: Mapped[int | None]  # HTTP status of the last attempt
    fault: Mapped[str | None]  # why the last attempt failed
    created: Mapped[datetime]
    delivered: Mapped[datetime | None]


class Tally(Base):
    """A number that only rises, by name and labels: what the metrics count over all time."""

    __tablename__ = "tallies"
    name: Mapped[str] = mapped_column(primary_key=True)
    labels: Mapped[str] = mapped_column(primary_key=True)  # JSON, keys in order
    value: Mapped[float]


class Measurement(Base):
    """How long a training took on a kind of device, beside what was counted of its work."""

    __tablename__ = "measurements"
    __table_args__ = (Index("ix_measurements_type_device", "type", "device"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]  # of the job
    device: Mapped[str]  # "cpu", or the name of a GPU
    counts: Mapped[dict[str, Any]]  # as `services.estimates.speed.Load` has them
    seconds: Mapped[float]
    memory_bytes: Mapped[int] = mapped_column(BigInteger)  # of the host, or of the GPU
    created: Mapped[datetime]
