"""What schemathesis is told beside the OpenAPI document: where things are, and what no schema says.

Loaded by schemathesis itself, in its own process; `CONTRACT_OBJECTS` names objects of the service
under test as JSON, by the parameter or field that takes their ids.
"""

import hashlib
import io
import json
import os
import re
from typing import Any

import numpy as np
import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis import Case, HookContext, Response

OBJECTS: dict[str, str] = json.loads(os.environ["CONTRACT_OBJECTS"])

# Why a request that is as the document says may be refused all the same: by the code of the
# refusal, and by what its detail holds.
BEYOND_SCHEMAS = {
    "bytes that are no loss or model file": ("bad_loss_file|bad_model_file", ""),
    "an idempotency key that was used for another request": ("idempotency_key_reused", ""),
    "objects that are not there, or are not the caller's": (
        "bad_input",
        r"there is no (image|loss|model|job|data set) ",
    ),
    "two fields that exclude each other": (
        "bad_input",
        "PNG files lose nothing|needs `image_ids` or `dataset_id`|give `iterations` or `epochs`",
    ),
    "parts of a training that are at odds": (
        "bad_input",
        "(min_size|max_width|crop|patch|batch) is|must rise|is no setting of the form|ends with"
        "|the network|the loss|relativistic_gan|sums stand|are added up|stage|nesterov"
        "|has an odd side|has the digest|a mosaic"
        # What is left out is the preset's, of whose kind a field may be unknown, or has limits.
        r"|^recipe\.\w+\.\w+\.\w+: (is not a known field|input should be )",
    ),
    "ranges whose ends are the wrong way round": ("bad_input", "low end .* is above its high end"),
    "parts that do not lie within a picture, or are to be shown larger than they are": (
        "bad_input",
        "is not within the image|is more than the part of|images of one size are measured",
    ),
    "a picture too small for the recipe": ("bad_input", "seed .* is too small"),
    "models, metrics and images that do not go together": (
        "bad_input",
        "something to compare by|different tasks|does not tell what it was trained for"
        "|the metrics and the models need",
    ),
    "a time that has passed": ("bad_input", "the deadline .* has passed"),
    "folders and networks that the operator has not allowed": (
        "bad_input",
        "this server imports no folders|a webhook cannot be sent to that URL",
    ),
    "more bytes than were announced, or than the operator allows": (
        "too_large",
        "the archive was announced with|MDF_MAX_DATASET_BYTES",
    ),
}

for kind, name in (("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP"), ("tiff", "TIFF")):
    pictures = []
    for shade in (0, 100):
        content = io.BytesIO()
        pixels = np.arange(32 * 40 * 3, dtype=np.uint8).reshape(32, 40, 3) // 2 + shade
        Image.fromarray(pixels).save(content, name)
        pictures.append(content.getvalue())
    schemathesis.openapi.media_type(f"image/{kind}", st.sampled_from(pictures))


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Send every other good request to objects that are there, and none under a used key."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    for headers in (case.headers, kwargs.get("headers") or {}):
        for name in [name for name in headers if name.lower() == "idempotency-key"]:
            headers[name] = f"{headers[name][:200]}-{case.id}"
    if case.media_type == "multipart/form-data" and isinstance(case.body, dict):
        # Of the document, `contentMediaType` is not read.
        for name in case.body.keys() & {"task", "network"}:
            case.body[name] = '{"kind": "sisr"}'
    if "task" in (case.query or {}):
        case.query["task"] = '{"kind": "jpeg"}'
    if hashlib.sha256(case.id.encode()).digest()[0] % 2:
        return
    if case.method != "DELETE":
        for name in case.path_parameters.keys() & OBJECTS.keys():
            case.path_parameters[name] = OBJECTS[name]
    if case.media_type == "application/json":
        case.body = _pointed(case.body)


def _pointed(body: Any) -> Any:
    """The body with the ids of objects that are there."""
    if isinstance(body, list):
        return [_pointed(each) for each in body]
    if not isinstance(body, dict):
        return body
    return {
        name: _id(value, OBJECTS[name]) if name in OBJECTS else _pointed(value)
        for name, value in body.items()
    }


def _id(given: Any, known: str) -> Any:
    if isinstance(given, list):
        return [known] * min(1, len(given))
    return known if isinstance(given, str) else given


@schemathesis.hook
def filter_failure(context: HookContext, failure: Any, case: Case, response: Response) -> bool:
    """Whether a failure counts: all but refusals for what no schema says, and revoked keys."""
    record = (case.method, case.operation.path) == ("GET", "/v1/api-keys/{key_id}")
    if type(failure).__name__ == "UseAfterFree" and record:
        return response.json()["revoked"] is None
    if type(failure).__name__ != "RejectedPositiveData" or response.status_code not in (413, 422):
        return True
    problem = response.json()
    return not any(
        re.fullmatch(codes, problem["code"]) and re.search(detail, problem["detail"])
        for codes, detail in BEYOND_SCHEMAS.values()
    )
