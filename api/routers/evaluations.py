"""`/v1/evaluations`: what came of comparing models."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from api.access import Reader
from api.bodies import StrictRoute
from api.errors import documented
from api.paging import Cursor, Limit, PageOut, PositionCursor, link_next
from api.runtime import Installed
from api.schemas import EvaluationOut, ImageScoresOut, WholeEvaluationOut
from services.evaluation import catalogue
from services.listing import portion

router = APIRouter(prefix="/v1/evaluations", tags=["evaluations"], route_class=StrictRoute)

EvaluationId = Annotated[str, Path(description="`eval_…`", max_length=64)]


@router.get("", operation_id="list_evaluations")
def list_evaluations(
    *,
    request: Request,
    response: Response,
    caller: Reader,
    installed: Installed,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageOut[EvaluationOut]:
    """The caller's evaluations, newest first; each goes with its job."""
    with installed.database.read() as session:
        page = catalogue.list_evaluations(session, caller, limit=limit, cursor=cursor)
        link_next(request, response, cursor=page.next_cursor)
        data = [EvaluationOut.of(row) for row in page.items]
        return PageOut(data=data, next_cursor=page.next_cursor)


@router.get("/{evaluation_id}", operation_id="get_evaluation", responses=documented(404))
def get_evaluation(
    evaluation_id: EvaluationId, caller: Reader, installed: Installed
) -> WholeEvaluationOut:
    """Means with confidence intervals, the worst images, and tests between each two."""
    with installed.database.read() as session:
        return WholeEvaluationOut.of(catalogue.get(session, evaluation_id, caller))


@router.get(
    "/{evaluation_id}/values",
    operation_id="list_evaluation_values",
    responses=documented(404),
)
def list_values(
    *,
    request: Request,
    response: Response,
    evaluation_id: EvaluationId,
    caller: Reader,
    installed: Installed,
    limit: Limit = 50,
    cursor: PositionCursor = None,
) -> PageOut[ImageScoresOut]:
    """Every image's values, in the order in which they were measured."""
    with installed.database.read() as session:
        evaluation = catalogue.get(session, evaluation_id, caller)
    page = portion(catalogue.scores(installed, evaluation), limit=limit, cursor=cursor)
    link_next(request, response, cursor=page.next_cursor)
    data = [ImageScoresOut.of(image, evaluation.job_id) for image in page.items]
    return PageOut(data=data, next_cursor=page.next_cursor)
