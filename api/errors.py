"""Every refusal as problem+json (RFC 9457): the one place where codes become statuses."""

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.routing import Match, compile_path

from services.errors import Problem, RateLimitedError, ServiceError
from services.jobs.specs import SPECS

MEDIA_TYPE = "application/problem+json"

STATUSES = {
    "bad_input": 422,
    "bad_image": 422,
    "unsupported_image": 415,
    "bad_loss_file": 422,
    "bad_model_file": 422,
    "too_large": 413,
    "not_found": 404,
    "conflict": 409,
    "idempotency_key_reused": 422,
    "idempotency_key_in_flight": 409,
    "unauthenticated": 401,
    "forbidden": 403,
    "quota_exceeded": 429,
    "queue_full": 429,
    "rate_limited": 429,
    "disk_full": 507,
    "unavailable": 503,
    "internal": 500,
}
# Of the faults of one request, those that are told; the others are counted.
MAX_FAULTS = 100
# Characters of a value that a refusal repeats; and pydantic's kinds of errors that leave it out,
# of fields that hold no secret.
MAX_SHOWN = 60
_TOLD = re.compile(
    r"(greater|less)_than(_equal)?|(int|float|bool|datetime)_\w+|no_number|literal_error"
)
# When to ask again, in seconds: of what passes, sooner or later.
_RETRY_AFTER = {
    "idempotency_key_in_flight": 1,
    "unavailable": 5,
    "queue_full": 30,
    "quota_exceeded": 60,
}
# Codes of refusals that the framework makes, by status.
_HTTP_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
}

# The database is away, busy or full: no defect of ours.
DATABASE_FAULTS = (OperationalError, PoolTimeoutError)

_log = logging.getLogger(__name__)


class FieldProblem(BaseModel):
    """One fault in the request."""

    pointer: Annotated[
        str, Field(description="JSON pointer (RFC 6901) into the body; empty for the whole request")
    ]
    detail: str


class ProblemDetails(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: Annotated[str, Field(description="urn:mdf:problem:{code}")]
    title: str
    status: int
    detail: Annotated[str, Field(description="what is wrong, and what to do about it")]
    code: Annotated[str, Field(description="for programs; of a closed list")]
    request_id: Annotated[str, Field(description="as in the server's log and X-Request-ID")]
    errors: list[FieldProblem] = []


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that refuses with these statuses.

    Those of every route that has a body or asks for a key need not be named: the OpenAPI
    document has them (`api/openapi.py`).
    """
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in statuses
    }


def problem(
    scope: Mapping[str, Any],
    *,
    status: int,
    code: str,
    detail: str,
    problems: Iterable[Problem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A refusal as a response."""
    content = {
        "type": f"urn:mdf:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": scope.get("state", {}).get("request_id", ""),
        "errors": [{"pointer": each.pointer, "detail": each.detail} for each in problems],
    }
    return Response(json.dumps(content), status, headers, media_type=MEDIA_TYPE)


def service_problem(scope: Mapping[str, Any], error: ServiceError) -> Response:
    """The refusal that a service function raised."""
    headers = {}
    if error.code == "unauthenticated":
        headers["WWW-Authenticate"] = 'Bearer realm="mdf"'
    if isinstance(error, RateLimitedError):
        headers["Retry-After"] = str(error.retry_after)
    elif error.code in _RETRY_AFTER:
        headers["Retry-After"] = str(_RETRY_AFTER[error.code])
    return problem(
        scope,
        status=STATUSES[error.code],
        code=error.code,
        detail=error.message,
        problems=error.problems,
        headers=headers,
    )


def database_problem(scope: Mapping[str, Any], error: Exception) -> Response:
    """What the database could not do, one of DATABASE_FAULTS."""
    _log.error("the database: %s", error)
    if "disk is full" in str(error):
        detail = "the server's disk is full: delete losses, jobs or images, or free some space"
        return problem(scope, status=507, code="disk_full", detail=detail)
    return problem(
        scope,
        status=503,
        code="unavailable",
        detail="the database is busy or away; try again in a moment",
        headers={"Retry-After": "2"},
    )


def internal_problem(scope: Mapping[str, Any]) -> Response:
    """An error of ours; what it was stands in the log only."""
    return problem(
        scope,
        status=500,
        code="internal",
        detail="an unexpected error; the server's log has the details under this request_id",
    )


def install(app: FastAPI) -> None:
    """Make `app` answer every error so."""

    @app.exception_handler(ServiceError)
    async def refuse(request: Request, error: ServiceError) -> Response:
        return service_problem(request.scope, error)

    @app.exception_handler(HTTPException)
    async def refuse_http(request: Request, error: HTTPException) -> Response:
        code = _HTTP_CODES.get(error.status_code, "bad_request")
        detail = error.detail
        if detail == HTTPStatus(error.status_code).phrase:
            detail = {
                404: f"there is nothing at {request.url.path}",
                405: f"{request.url.path} does not take {request.method}",
            }.get(error.status_code, detail)
        headers = dict(error.headers or {})
        if error.status_code == 405 and (methods := _methods_at(request)):
            headers["Allow"] = ", ".join(methods)
        return problem(
            request.scope, status=error.status_code, code=code, detail=detail, headers=headers
        )

    @app.exception_handler(RequestValidationError)
    async def refuse_invalid(request: Request, error: RequestValidationError) -> Response:
        faults = error.errors()
        problems = field_problems(faults[:MAX_FAULTS], error.body)
        shown = "; ".join(
            f"{each.pointer.strip('/').replace('/', '.')}: {each.detail}".removeprefix(": ")
            for each in problems[:3]
        )
        unlisted = len(faults[MAX_FAULTS:])
        more = len(problems[3:]) + unlisted
        detail = (
            shown
            + (f"; and {more} more" if more else "")
            + (f", of which {unlisted} are not listed" if unlisted else "")
        )
        return problem(
            request.scope, status=422, code="bad_input", detail=detail, problems=problems
        )

    @app.exception_handler(OperationalError)
    @app.exception_handler(PoolTimeoutError)
    async def refuse_without_database(request: Request, error: Exception) -> Response:
        return database_problem(request.scope, error)


def _methods_at(request: Request) -> list[str]:
    """Every method that the path takes, by the document: each of several routes knows its own."""
    path, paths = request.scope["path"], request.app.openapi()["paths"]
    if path not in paths:  # `/v1/losses/import` is no loss
        path = next((each for each in paths if compile_path(each)[0].fullmatch(path)), "")
    methods = {method.upper() for method in paths.get(path, ())}
    head = {**request.scope, "method": "HEAD"}
    if any(route.matches(head)[0] is Match.FULL for route in request.app.routes):
        methods.add("HEAD")
    return sorted(methods)


def field_problems(errors: Sequence[Mapping[str, Any]], body: Any) -> list[Problem]:
    """Pydantic's errors with pointers into `body`; those of one place are one problem."""
    details: dict[str, list[str]] = {}
    given: dict[str, str] = {}
    for error in errors:
        part, *path = error["loc"]
        if part == "body":
            pointer, detail = _pointer(path, body), _words(error)
            if error["type"] == "job_type":
                pointer = "/type"
            given[pointer] = _given(error)
        else:
            pointer = ""
            detail = f"{part} parameter {'.'.join(map(str, path))}: {_words(error)}{_given(error)}"
        if detail not in details.setdefault(pointer, []):
            details[pointer].append(detail)
    for pointer in _emptied(errors, body):
        if any(other.startswith(f"{pointer}/") for other in details):
            del details[pointer]
    return [
        Problem(pointer, ", or ".join(each) + given.get(pointer, ""))
        for pointer, each in details.items()
    ]


def _emptied(errors: Sequence[Mapping[str, Any]], body: Any) -> set[str]:
    """Lists that are too short; if only because their items are at fault, those are named."""
    return {_pointer(each["loc"][1:], body) for each in errors if each["type"] == "too_short"}


def _pointer(path: Sequence[str | int], body: Any) -> str:
    """The JSON pointer to what pydantic's `path` means.

    Pydantic names the branches of unions as if they were fields: the tag of a
    discriminated one (`task/denoising/sigma`, and at the front the type of a job), the type of
    another (`factor/float`).
    """
    pointer = ""
    if path and path[0] in SPECS:
        path = path[1:]
    for step in path:
        if isinstance(body, Mapping):
            if body.get("kind") == step:
                continue
            body = body.get(str(step), _ABSENT)
        elif isinstance(body, list) and isinstance(step, int) and step < len(body):
            body = body[step]
        elif body is not _ABSENT:
            break
        pointer += "/" + str(step).replace("~", "~0").replace("/", "~1")
    return pointer


_ABSENT = object()


def _given(error: Mapping[str, Any]) -> str:
    """What was given instead of a number or of one of a few words, where it is short."""
    value = error.get("input")
    if not _TOLD.fullmatch(error["type"]) or isinstance(value, dict | list):
        return ""
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return f"; it is {shown}" if len(shown) <= MAX_SHOWN else ""


def _words(error: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return "is not a known field"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return f"needs a `kind` out of {context.get('expected_tags', 'those documented')}"
    message = str(error["msg"])
    if "Expected UploadFile" in message:
        return "must be a file: a multipart part with a filename"
    if kind == "model_attributes_type":
        return "must be a JSON object"
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
