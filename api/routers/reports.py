"""`/v1/jobs/{id}/…`: what a job reports: events, metrics, samples, artifacts."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import Scope

from api.access import Reader
from api.bodies import StrictRoute
from api.downloads import RESPONSES, download, stored
from api.errors import documented
from api.event_streams import EventStream
from api.paging import ListOut, PageOut, link_next
from api.routers.jobs import JobId
from api.runtime import Installed, Shared
from api.schemas import ArtifactOut, EventOut, MetricOut, SampleOut
from services.blobs import StoredFile
from services.database.schema import Job
from services.errors import NotFoundError
from services.jobs import queries


class EventStreamRoute(StrictRoute):
    """A route for those who accept an event stream only."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As any route, if `Accept` names the media type."""
        if "text/event-stream" in Headers(scope=scope).get("accept", ""):
            return super().matches(scope)
        return Match.NONE, {}


router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], route_class=StrictRoute)
streams = APIRouter(prefix="/v1/jobs/{job_id}", route_class=EventStreamRoute)

_SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "application/zip": ".zip",
    "application/json": ".json",
}
METRIC_POINTS = 10_000  # of an answer, if no other number is asked for

_LAST_NUMBER = 2**31 - 1  # of an event or a step

After = Annotated[
    int, Query(ge=0, le=_LAST_NUMBER, description="number of the last event that is known already")
]


def _existing(job_id: JobId, caller: Reader, installed: Installed) -> Job:
    with installed.database.read() as session:
        return queries.get(session, job_id, caller)


Existing = Annotated[Job, Depends(_existing)]


@streams.get("/events", response_class=EventStream, include_in_schema=False)
async def stream_events(
    caller: Reader,
    job: Existing,
    shared: Shared,
    after: After = 0,
    last_event_id: Annotated[int | None, Header(ge=0, le=_LAST_NUMBER)] = None,
) -> EventStream:
    """The job's events as they happen, until it has ended."""
    start = after if last_event_id is None else last_event_id
    return EventStream(shared.feeds, job, caller, after=start)


@router.get(
    "/events",
    operation_id="list_job_events",
    responses={
        200: {
            "description": "a page of events, or with `Accept: text/event-stream` all from "
            "`after` (or `Last-Event-ID`) on, as they happen, until the job has ended",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **documented(404),
    },
)
def list_events(
    *,
    request: Request,
    response: Response,
    job_id: JobId,
    caller: Reader,
    installed: Installed,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="events at most")] = 200,
) -> PageOut[EventOut]:
    """The job's events after number `after`; `next_cursor` is the next `after`."""
    with installed.database.read() as session:
        job = queries.get(session, job_id, caller)
        rows = queries.events_after(session, job.id, after, limit + 1)
        events = [EventOut.model_validate(row) for row in rows[:limit]]
    following = str(events[-1].seq) if len(rows) > limit else None
    link_next(request, response, after=following)
    return PageOut(data=events, next_cursor=following)


@router.get("/metrics", operation_id="list_job_metrics", responses=documented(404))
def list_metrics(
    *,
    job: Existing,
    installed: Installed,
    keys: Annotated[list[str] | None, Query(description="names of the values wanted")] = None,
    scale: Annotated[int | None, Query(ge=0, le=1000)] = None,
    after_step: Annotated[int | None, Query(ge=0, le=_LAST_NUMBER)] = None,
    max_points: Annotated[
        int,
        Query(ge=2, le=100_000, description="thins evenly; the first and the last point stay"),
    ] = METRIC_POINTS,
) -> ListOut[MetricOut]:
    """The training curves."""
    with installed.database.read() as session:
        rows = queries.metrics(
            session, job.id, keys=keys, scale=scale, after_step=after_step, max_points=max_points
        )
        return ListOut(data=[MetricOut.of(row) for row in rows])


@router.get("/samples", operation_id="list_job_samples", responses=documented(404))
def list_samples(job: Existing, installed: Installed) -> ListOut[SampleOut]:
    """The pictures made so far."""
    with installed.database.read() as session:
        return ListOut(data=[SampleOut.of(row) for row in queries.samples(session, job.id)])


@router.get(
    "/samples/{sample_id}/content",
    operation_id="get_job_sample_content",
    response_class=Response,
    responses=RESPONSES,
)
@router.head("/samples/{sample_id}/content", include_in_schema=False)
def get_sample_content(
    request: Request,
    job: Existing,
    installed: Installed,
    sample_id: Annotated[str, Path(description="`smp_…`", max_length=64)],
) -> Response:
    """One of the pictures, as PNG."""
    with installed.database.read() as session:
        found = [row for row in queries.samples(session, job.id) if row.id == sample_id]
    if not found:
        raise NotFoundError(f"job {job.id} has no sample {sample_id}")
    (sample,) = found
    return download(
        request,
        installed.blobs,
        stored(installed.blobs, sample.blob),
        media_type="image/png",
        filename=f"{sample.kind}-{sample.scale}-{sample.step}.png",
    )


@router.get("/artifacts", operation_id="list_job_artifacts", responses=documented(404))
def list_artifacts(job: Existing, installed: Installed) -> ListOut[ArtifactOut]:
    """The files that the job published beside its loss or model."""
    with installed.database.read() as session:
        return ListOut(data=[ArtifactOut.of(row) for row in queries.artifacts(session, job.id)])


@router.get(
    "/artifacts/{kind}/content",
    operation_id="get_job_artifact_content",
    response_class=Response,
    responses=RESPONSES,
)
@router.head("/artifacts/{kind}/content", include_in_schema=False)
def get_artifact_content(
    request: Request,
    job: Existing,
    installed: Installed,
    kind: Annotated[
        str, Path(description="`contact_sheet`, `restored` or `evaluation`", max_length=64)
    ],
) -> Response:
    """One of those files."""
    with installed.database.read() as session:
        found = [row for row in queries.artifacts(session, job.id) if row.kind == kind]
    if not found:
        raise NotFoundError(f"job {job.id} has no artifact {kind}")
    (artifact,) = found
    suffix = _SUFFIXES.get(artifact.media_type, "")
    return download(
        request,
        installed.blobs,
        StoredFile(blob=artifact.blob, size=artifact.size, sha256=artifact.sha256),
        media_type=artifact.media_type,
        filename=f"{job.id}-{kind}{suffix}",
    )
