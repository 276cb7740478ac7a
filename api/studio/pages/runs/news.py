"""What a run's page asks the database: all at first, then only what is new."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.routers.jobs import described
from api.runtime import Runtime
from api.schemas import ArtifactOut, EventOut, JobOut, SampleOut
from services.access import Caller
from services.database.schema import Job, JobEvent, Worker
from services.jobs import queries
from services.jobs.lifecycle import HELD, TERMINAL, State
from services.run import FINISHED_EARLY

# Points of a curve that are asked for at once: what the charts have room for.
POINTS = 1000
POINTS_OF_SCALE = 200
_EVENTS = 1000

Point = tuple[int, Mapping[str, float]]  # the iteration, and its values by name


@dataclass(frozen=True)
class Known:
    """How much a page has been told: the last event, and the last step of each scale."""

    seq: int
    steps: Mapping[int, int]


@dataclass(frozen=True)
class News:
    """A job as it stands, and what has come since the page was last told."""

    known: Known  # from now on
    job: JobOut
    worker: str | None  # the device, and the host
    checkpoint_size: int | None  # bytes
    events: list[EventOut]
    points: Mapping[int, list[Point]]  # by scale
    anew: bool  # the points are all that there are, not those that follow
    samples: list[SampleOut] | None  # all, if there are new ones
    artifacts: list[ArtifactOut]
    early_end: str | None  # what there was of it when somebody had it end, in words


def asking(runtime: Runtime, job_id: str, known: Known | None) -> Callable[[Session, Caller], News]:
    """The question what is new after what is `known`."""

    def ask(session: Session, caller: Caller) -> News:
        row = queries.get(session, job_id, caller)
        (job,) = described(session, [row], runtime)
        events = [] if known is None else _events(session, row, known.seq)
        # Where it goes on from a checkpoint, the points behind that are made again.
        anew = known is None or any(_begins(event) for event in events)
        steps = {} if known is None or anew else known.steps
        points = _points(session, row, steps) if anew or events else {}
        last = {scale: found[-1][0] for scale, found in points.items()}
        sampled = anew or any(event.kind == "sample" for event in events)
        return News(
            known=Known(events[-1].seq if events else row.last_seq, {**steps, **last}),
            job=job,
            worker=_worker(session, row),
            checkpoint_size=row.checkpoint_size,
            events=events,
            points=points,
            anew=anew,
            samples=_samples(session, job_id) if sampled else None,
            artifacts=_artifacts(session, row),
            early_end=_early_end(session, row),
        )

    return ask


def scales_of(job: Job | JobOut) -> int:
    """How many scales its metrics are of."""
    return int(job.spec["recipe"]["scales"]) if job.type == "discriminator_training" else 1


def _events(session: Session, row: Job, seq: int) -> list[EventOut]:
    if row.last_seq == seq:
        return []
    rows = queries.events_after(session, row.id, seq, _EVENTS)
    return [EventOut.model_validate(each) for each in rows]


def _begins(event: EventOut) -> bool:
    return event.kind == "state" and event.content["state"] == State.RUNNING


def _points(session: Session, row: Job, steps: Mapping[int, int]) -> dict[int, list[Point]]:
    scales = scales_of(row)
    found: dict[int, list[Point]] = {}
    for scale in range(max(steps, default=1), scales + 1):
        rows = queries.metrics(
            session,
            row.id,
            scale=scale,
            after_step=steps.get(scale),
            max_points=POINTS_OF_SCALE if scales > 1 else POINTS,
        )
        if rows:
            found[scale] = [(each.step, each.content) for each in rows]
    return found


def _samples(session: Session, job_id: str) -> list[SampleOut]:
    return [SampleOut.of(each) for each in queries.samples(session, job_id)]


def _artifacts(session: Session, row: Job) -> list[ArtifactOut]:
    if row.state not in TERMINAL:
        return []
    return [ArtifactOut.of(each) for each in queries.artifacts(session, row.id)]


def _early_end(session: Session, row: Job) -> str | None:
    if row.state != State.SUCCEEDED or row.desired_state != "finish":
        return None
    message = JobEvent.content["message"].as_string()
    logged = select(message).where(
        JobEvent.job_id == row.id,
        JobEvent.kind == "log",
        message.startswith(FINISHED_EARLY, autoescape=True),
    )
    line = session.scalar(logged.order_by(JobEvent.seq.desc()).limit(1))
    return None if line is None else line.removeprefix(FINISHED_EARLY)


def _worker(session: Session, row: Job) -> str | None:
    """The device that the job is on, while it is on one."""
    if row.state not in HELD or row.lease_holder is None:
        return None
    worker = session.get(Worker, row.lease_holder)
    return row.lease_host if worker is None else f"{worker.device}, on {worker.host}"
