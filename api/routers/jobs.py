"""`/v1/jobs`: submit, look at, change and steer jobs."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Path, Request, Response
from sqlalchemy.orm import Session

from api.access import Reader, Writer
from api.bodies import StrictRoute
from api.creation import Created, Creating
from api.errors import documented
from api.paging import Cursor, Limit, PageOut, link_next
from api.runtime import Installed, Runtime, Shared
from api.schemas import (
    DeletedOut,
    EstimateOut,
    JobChange,
    JobIn,
    JobOut,
    JobType,
    TrainingIn,
)
from services.access import Caller
from services.database.schema import Job
from services.estimates import forecast
from services.jobs import queries, requests, results, submission
from services.jobs.lifecycle import State

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)

JobId = Annotated[str, Path(description="`job_…`", max_length=64)]


@router.post(
    "",
    status_code=202,
    response_model=JobOut,
    operation_id="submit_job",
    responses=documented(409, 507),
)
def submit_job(
    caller: Writer, creation: Creating, shared: Shared, background: BackgroundTasks, job: JobIn
) -> Response:
    """Have losses or models trained, images restored, models compared: it is not lost any more."""
    wanted = job.root

    def submit(session: Session) -> Created:
        shared.installation.blobs.check_free()
        row = submission.submit(
            session,
            wanted.spec(),
            caller=caller,
            name=wanted.name,
            priority=wanted.priority,
            deadline=wanted.deadline,
        )
        background.add_task(shared.announcements.announce, row.id, row.type)
        (body,) = described(session, [row], shared)
        return Created(status=202, body=body, location=f"/v1/jobs/{row.id}")

    return creation.commit(submit)


@router.post("/estimate", operation_id="estimate_job")
def estimate_job(caller: Reader, shared: Shared, job: TrainingIn) -> EstimateOut:
    """How long a training would take, and how much memory; nothing is submitted."""
    with shared.installation.database.read() as session:
        return EstimateOut.of(forecast.estimate(session, job.root.spec(), caller))


@router.get("", operation_id="list_jobs")
def list_jobs(
    *,
    request: Request,
    response: Response,
    caller: Reader,
    shared: Shared,
    state: State | None = None,
    type: JobType | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageOut[JobOut]:
    """The caller's jobs, newest first."""
    with shared.installation.database.read() as session:
        page = queries.list_jobs(
            session, caller, state=state, type=type, limit=limit, cursor=cursor
        )
        link_next(request, response, cursor=page.next_cursor)
        return PageOut(data=described(session, page.items, shared), next_cursor=page.next_cursor)


@router.get("/{job_id}", operation_id="get_job", responses=documented(404))
def get_job(job_id: JobId, caller: Reader, shared: Shared) -> JobOut:
    """One job."""
    with shared.installation.database.read() as session:
        (job,) = described(session, [queries.get(session, job_id, caller)], shared)
        return job


@router.patch(
    "/{job_id}",
    operation_id="change_job",
    responses=documented(404),
)
def change_job(job_id: JobId, caller: Writer, shared: Shared, change: JobChange) -> JobOut:
    """Rename a job, or move it in the queue."""
    with shared.installation.database.write() as session:
        row = requests.change(session, job_id, caller, name=change.name, priority=change.priority)
        (job,) = described(session, [row], shared)
        return job


@router.delete("/{job_id}", operation_id="delete_job", responses=documented(404, 409))
def delete_job(job_id: JobId, caller: Writer, installed: Installed) -> DeletedOut:
    """Delete a job that has ended, with its log; what it made stays, but for its artifacts."""
    freed = requests.delete(installed.database, installed.blobs, job_id, caller)
    return DeletedOut(id=job_id, bytes_freed=freed)


STEERING = documented(404, 409)
TAKING_UP = documented(404, 409, 507)


@router.post("/{job_id}/cancel", operation_id="cancel_job", responses=STEERING)
def cancel_job(
    job_id: JobId, caller: Writer, shared: Shared, background: BackgroundTasks
) -> JobOut:
    """End a job without a result."""
    return _steer(requests.cancel, job_id, caller, shared, background)


@router.post("/{job_id}/pause", operation_id="pause_job", responses=STEERING)
def pause_job(job_id: JobId, caller: Writer, shared: Shared, background: BackgroundTasks) -> JobOut:
    """Stop a job after a checkpoint, until it is resumed."""
    return _steer(requests.pause, job_id, caller, shared, background)


@router.post("/{job_id}/resume", operation_id="resume_job", responses=TAKING_UP)
def resume_job(
    job_id: JobId, caller: Writer, shared: Shared, background: BackgroundTasks
) -> JobOut:
    """Let a paused job go on from its checkpoint."""
    return _steer(requests.resume, job_id, caller, shared, background)


@router.post("/{job_id}/finish", operation_id="finish_job", responses=STEERING)
def finish_job(
    job_id: JobId, caller: Writer, shared: Shared, background: BackgroundTasks
) -> JobOut:
    """End a training early: the scales trained so far, at least one, or the best model so far."""
    return _steer(requests.finish, job_id, caller, shared, background)


@router.post("/{job_id}/retry", operation_id="retry_job", responses=TAKING_UP)
def retry_job(job_id: JobId, caller: Writer, shared: Shared, background: BackgroundTasks) -> JobOut:
    """Queue a failed or canceled job again, from its last checkpoint."""
    return _steer(requests.retry, job_id, caller, shared, background)


def _steer(
    request: requests.Request,
    job_id: str,
    caller: Caller,
    shared: Runtime,
    background: BackgroundTasks,
) -> JobOut:
    with shared.installation.database.write() as session:
        row = requests.ask(session, shared.installation.blobs, request, job_id, caller)
        if row.state == State.QUEUED:
            background.add_task(shared.announcements.announce, row.id, row.type)
        (job,) = described(session, [row], shared)
        return job


def described(session: Session, jobs: Sequence[Job], shared: Runtime) -> list[JobOut]:
    """The jobs as answers have them."""
    made = results.of_jobs(session, jobs)
    places = queries.queue_positions(session, jobs)
    return [
        JobOut.of(
            job,
            made=made[job.id],
            queue_position=places.get(job.id),
            eta_seconds=queries.eta_seconds(session, job),
            max_attempts=shared.installation.settings.max_attempts,
        )
        for job in jobs
    ]
