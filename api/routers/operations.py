"""`/healthz`, `/readyz`, `/openapi.json`, `/metrics`, `/v1/workers`: for operators."""

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.access import PUBLIC, Needs, Reader
from api.paging import ListOut
from api.runtime import Installed, Shared
from api.schemas import HealthOut, ReadinessOut, WorkerOut
from services import census, keys

router = APIRouter(tags=["operations"])


@router.get("/healthz", operation_id="get_health", dependencies=[PUBLIC])
async def get_health() -> HealthOut:
    """Whether the process lives. Asks nothing of anybody; needs no key."""
    return HealthOut()


@router.get(
    "/readyz",
    operation_id="get_readiness",
    dependencies=[PUBLIC],
    responses={503: {"model": ReadinessOut, "description": "a part is not there"}},
)
async def get_readiness(response: Response, shared: Shared) -> ReadinessOut:
    """Whether database, blobs and broker are there, or were a few seconds ago. Needs no key.

    Without the broker jobs are accepted all the same, and start when it is back.
    """
    checks = await shared.readiness.checks()
    ready = all(check == "ok" for check in checks.values())
    response.status_code = 200 if ready else 503
    return ReadinessOut(status="ok" if ready else "unavailable", checks=checks)


@router.get("/openapi.json", include_in_schema=False, dependencies=[PUBLIC])
def get_document(request: Request, installed: Installed) -> Response:
    """The contract; it says whether callers need a key. Needs none."""
    with installed.database.read() as session:
        required = keys.required(session)
    document = request.app.state.encoded_document(with_keys=required)
    return Response(document, media_type="application/json")


@router.get(
    "/metrics",
    operation_id="get_metrics",
    dependencies=[Depends(Needs("read"))],
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}},
)
def get_metrics(shared: Shared) -> Response:
    """Prometheus metrics; with API keys in force, for any key that reads."""
    return Response(generate_latest(shared.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/workers", operation_id="list_workers")
def list_workers(caller: Reader, installed: Installed) -> ListOut[WorkerOut]:
    """The worker slots that gave a sign of life within the last minute."""
    with installed.database.read() as session:
        found = census.workers(session, caller)
        return ListOut(data=[WorkerOut.of(worker, job_id) for worker, job_id in found])
