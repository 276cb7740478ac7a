"""The OpenAPI document: what FastAPI makes of the routes, and what it cannot know of them."""

from copy import deepcopy
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from api.errors import ProblemDetails, documented

Schema = dict[str, Any]

# Of every route that asks who calls: no key, not this scope, too many requests, no database.
_GUARDED = documented(401, 403, 429, 503)
# Of every route with a body: damaged, not there, too large, of another type, not as described.
_WITH_BODY = documented(400, 408, 413, 415, 422)

_CREATED = {
    "Location": {"description": "path of the object", "schema": {"type": "string"}},
    "Idempotency-Replayed": {
        "description": "`true` if this is the answer to an earlier request with the same key",
        "schema": {"const": "true"},
    },
}
# What says of a text what it may be, beside its length.
_NARROWER = frozenset({"const", "contentMediaType", "enum", "format", "pattern"})
_METHODS = ("get", "head", "post", "put", "patch", "delete")


def install(app: FastAPI) -> None:
    """Let `app.openapi()` give the document of an installation that asks for keys."""

    def document() -> Schema:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    @cache
    def encoded(*, with_keys: bool) -> bytes:
        return bytes(JSONResponse(document() if with_keys else without_keys(document())).body)

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way
    # It is long, and everybody may ask for it.
    app.state.encoded_document = encoded


def without_keys(document: Schema) -> Schema:
    """The document of an installation that asks nobody for a key."""
    open_to_all = deepcopy(document)
    for operation in _operations(open_to_all):
        if "security" in operation:
            operation["security"].append({})
    return open_to_all


def _document(app: FastAPI) -> Schema:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document["components"]["schemas"]
    problem = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs")
    schemas["ProblemDetails"] = problem
    for operation in _operations(document):
        _add_refusals(operation)
        _tell_creation(operation)
        for parameter in operation.get("parameters", ()):
            _leave_out_null(parameter)
    _require_tags(document, schemas)
    answers = {"ProblemDetails", "FieldProblem", *(name for name in schemas if "Out" in name)}
    _exclude_nul([schema for name, schema in schemas.items() if name not in answers])
    for name, schema in schemas.items():
        if name.startswith("Body_"):  # FastAPI's names of forms
            schema["additionalProperties"] = False
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return document


def _operations(document: Schema) -> list[Schema]:
    return [
        operation
        for path in document["paths"].values()
        for method, operation in path.items()
        if method in _METHODS
    ]


def _add_refusals(operation: Schema) -> None:
    """Every refusal is a problem, also those that FastAPI describes in its own way."""
    responses = operation["responses"]
    common = _GUARDED if "security" in operation else {}
    if "requestBody" in operation:
        common = common | _WITH_BODY
    if "422" in responses:
        common = common | documented(422)
    responses |= {str(status): refusal for status, refusal in common.items()}
    operation["responses"] = dict(sorted(responses.items()))


def _tell_creation(operation: Schema) -> None:
    """A request that may be named by a key makes something, and says where it is."""
    names = {parameter["name"].lower() for parameter in operation.get("parameters", ())}
    if "idempotency-key" not in names:
        return
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            response["headers"] = _CREATED | response.get("headers", {})


def _leave_out_null(parameter: Schema) -> None:
    """A parameter that is not given is not there: no text in a request is null."""
    schema = parameter["schema"]
    kinds = [kind for kind in schema.pop("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        schema |= kinds[0]
    elif kinds:
        schema["anyOf"] = kinds


def _exclude_nul(node: Any) -> None:
    """No text of a request holds the character NUL (`api.bodies.parse_json`)."""
    if isinstance(node, list):
        for each in node:
            _exclude_nul(each)
    elif isinstance(node, dict):
        for each in node.values():
            _exclude_nul(each)
        if node.get("type") == "string" and not node.keys() & _NARROWER:
            node["pattern"] = r"^[^\x00]*$"


def _require_tags(node: Any, schemas: Schema) -> None:
    """Where a field says which of several objects is meant, it has to be there."""
    if isinstance(node, list):
        for each in node:
            _require_tags(each, schemas)
    elif isinstance(node, dict):
        for each in list(node.values()):
            _require_tags(each, schemas)
        tag = node.get("discriminator")
        if isinstance(tag, dict):
            for reference in tag.get("mapping", {}).values():
                tagged = schemas[reference.rpartition("/")[2]]
                required = tagged.setdefault("required", [])
                if tag["propertyName"] not in required:
                    required.append(tag["propertyName"])
