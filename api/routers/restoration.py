"""`/v1/models/{id}/restore`: one image through a model, at once or by a job."""

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from api.access import Writer
from api.bodies import FORM_LIMITS, IMAGE_PART, NOT_EMPTY, StrictRoute
from api.creation import Created, Creating
from api.downloads import disposition, plain_name, read_image
from api.errors import documented
from api.preferences import Prefer, wait_seconds
from api.routers.jobs import described
from api.routers.models import ModelId
from api.runtime import Runtime, Shared, decoder_turn
from api.schemas import ImageIn, JobOut
from services.access import Caller
from services.blobs import StoredFile
from services.database import hold
from services.errors import BadInputError, Problem, UnavailableError
from services.images import catalogue as images
from services.images.decoding import DecodedImage, Limits, decode
from services.jobs import submission
from services.restoration import warm
from services.restoration.spec import PictureFormat, Quality, Restoration, check_quality
from services.restorers import catalogue as models

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=StrictRoute)

_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "string", "format": "binary", **NOT_EMPTY}},
                "required": ["file"],
                "additionalProperties": False,
            },
            "encoding": IMAGE_PART,
        },
        "application/json": {"schema": ImageIn.model_json_schema()},
    },
}


@dataclass(frozen=True)
class _Picture:
    """The image to be restored: of the catalogue, or just uploaded."""

    png: bytes
    width: int
    height: int
    name: str
    image_id: str | None = None
    decoded: DecodedImage | None = None


@router.post(
    "/{model_id}/restore",
    operation_id="restore_image",
    response_class=Response,
    openapi_extra={"requestBody": _BODY},
    responses={
        200: {
            "description": "the restored image, with `Preference-Applied`",
            "content": {kind: {} for kind in ("image/png", "image/jpeg", "image/webp")},
        },
        202: {"description": "a job that restores it", "model": JobOut},
        **documented(404, 409, 507),
    },
)
async def restore_image(
    *,
    request: Request,
    model_id: ModelId,
    caller: Writer,
    creation: Creating,
    shared: Shared,
    background: BackgroundTasks,
    file_format: Annotated[PictureFormat, Query(alias="format")] = "png",
    quality: Annotated[Quality | None, Query()] = None,
    prefer: Prefer = None,
) -> Response:
    """Restore an image: a file, or `{"image_id": …}` of one that is stored.

    With `Prefer: wait=30` the answer is the restored image, if it is small work and done in that
    time. Otherwise the image is kept, and the answer is the job that restores it: its artifact
    `restored` is the file.
    """
    try:
        check_quality(file_format, quality)
    except ValueError as error:
        raise BadInputError(str(error)) from None
    model = await anyio.to_thread.run_sync(_model, shared, model_id, caller)
    picture = await _picture(request, shared, caller)
    wait = wait_seconds(prefer)
    if wait and warm.is_small(model, picture.width, picture.height):
        try:
            async with asyncio.timeout(wait), shared.restorers.turn(caller.owner) as bench:
                restored = await bench.run(
                    warm.restore,
                    shared.installation.blobs.location,
                    model,
                    picture.png,
                    file_format,
                    quality,
                )
        except (TimeoutError, UnavailableError):
            pass  # others are before us: a job waits longer than a connection should
        else:
            name = f"{picture.name.rpartition('.')[0] or picture.name}.{file_format}"
            headers = {
                "Preference-Applied": f"wait={wait}",
                "Content-Disposition": disposition(name),
            }
            return Response(restored.content, media_type=restored.media_type, headers=headers)

    def submit(session: Session) -> Created:
        shared.installation.blobs.check_free()
        hold(session, model_id)  # as for every job, before its images: nobody waits in a circle
        image_id = picture.image_id or _kept(session, shared, picture, caller)
        wanted = Restoration(
            model_id=model_id, image_ids=(image_id,), format=file_format, quality=quality
        )
        row = submission.submit(session, wanted, caller=caller, name=picture.name)
        background.add_task(shared.announcements.announce, row.id, row.type)
        (body,) = described(session, [row], shared)
        return Created(status=202, body=body, location=f"/v1/jobs/{row.id}")

    answer = await anyio.to_thread.run_sync(creation.commit, submit)
    answer.background = background
    return answer


def _model(shared: Runtime, model_id: str, caller: Caller) -> StoredFile:
    with shared.installation.database.read() as session:
        models.get(session, model_id, caller)
        return models.file(session, model_id, "safetensors")


async def _picture(request: Request, shared: Runtime, caller: Caller) -> _Picture:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        image_id = _image_id(await request.json())
        return await anyio.to_thread.run_sync(_stored, shared, image_id, caller)
    if kind != "multipart/form-data":
        raise HTTPException(
            415,
            f"{request.url.path} takes multipart/form-data with a file, or application/json, not "
            f"{kind or 'a body without Content-Type'}",
        )
    form = await request.form(**FORM_LIMITS)
    file = form.get("file")
    if not isinstance(file, UploadFile) or len(form) > 1:
        problem = Problem("/file", "must be a file: the one part of the form, with a filename")
        raise BadInputError("the form needs one part, `file`, with a filename", problems=(problem,))
    limits = replace(Limits.of(shared.installation.settings), min_side=1)
    async with decoder_turn(request):
        content = await file.read()
        decoded = await anyio.to_thread.run_sync(partial(decode, content, limits, keep_alpha=True))
    name = plain_name(file.filename or "", fallback="image")
    return _Picture(decoded.png, decoded.width, decoded.height, name, decoded=decoded)


def _image_id(body: Any) -> str:
    try:
        return ImageIn.model_validate(body).image_id
    except ValidationError as error:
        located = [fault | {"loc": ("body", *fault["loc"])} for fault in error.errors()]
        raise RequestValidationError(located, body=body) from error


def _stored(shared: Runtime, image_id: str, caller: Caller) -> _Picture:
    with shared.installation.database.read() as session:
        image = images.referenced(session, image_id, caller, "/image_id")
    content = read_image(shared.installation.blobs, image)
    return _Picture(content, image.width, image.height, image.name, image_id=image.id)


def _kept(session: Session, shared: Runtime, picture: _Picture, caller: Caller) -> str:
    assert picture.decoded is not None  # noqa: S101 - it was uploaded
    blobs = shared.installation.blobs
    image, _ = images.add(session, blobs, picture.decoded, name=picture.name, caller=caller)
    return image.id
