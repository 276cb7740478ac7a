"""`/v1/losses`: list, download, import, compare, delete."""

from base64 import b64encode
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, File, Form, Path, Query, Request, Response, UploadFile
from fastapi.responses import PlainTextResponse
from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from api.access import Reader, Writer
from api.bodies import JSON_TEXT, NOT_EMPTY, StrictRoute, read_form_json
from api.creation import Created, Creating
from api.downloads import RESPONSES, download, plain_name, read_image
from api.errors import documented
from api.paging import Cursor, Limit, PageOut, link_next
from api.runtime import Installed, Shared
from api.schemas import (
    ComparisonIn,
    ComparisonOut,
    DeletedOut,
    DifferenceMapOut,
    GradientOut,
    LossFormat,
    LossOut,
    Name,
    NameChange,
    TermOut,
)
from services import quotas
from services.access import Caller
from services.errors import BadLossFileError
from services.images import catalogue as images
from services.installation import Installation
from services.losses import catalogue, comparison, importing
from services.losses.card import write_card
from services.losses.comparison import Comparison
from services.losses.importing import Converted
from services.phase1.recipe import Task

router = APIRouter(prefix="/v1/losses", tags=["losses"], route_class=StrictRoute)

LossId = Annotated[str, Path(description="`loss_…`", max_length=64)]
_task = TypeAdapter[Any](Task)


@router.get("", operation_id="list_losses")
def list_losses(
    *,
    request: Request,
    response: Response,
    caller: Reader,
    installed: Installed,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageOut[LossOut]:
    """The caller's losses, newest first."""
    with installed.database.read() as session:
        page = catalogue.list_losses(session, caller, limit=limit, cursor=cursor)
        link_next(request, response, cursor=page.next_cursor)
        data = [LossOut.of(loss, catalogue.files(session, loss.id)) for loss in page.items]
        return PageOut(data=data, next_cursor=page.next_cursor)


@router.post(
    "/import",
    status_code=201,
    response_model=LossOut,
    operation_id="import_loss",
    responses=documented(409, 507),
)
async def import_loss(
    *,
    caller: Writer,
    creation: Creating,
    shared: Shared,
    file: Annotated[
        UploadFile,
        File(
            description="safetensors, our .pth, or the authors' .pth", json_schema_extra=NOT_EMPTY
        ),
    ],
    name: Annotated[Name, Form(description="default: the file's name")] = "",
    task: Annotated[
        str,
        Form(
            description="JSON of the task that a published file was trained for",
            json_schema_extra=JSON_TEXT,
        ),
    ] = "",
) -> Response:
    """Add a loss that was trained elsewhere. Pickles are read as data and never executed."""
    described = read_form_json("task", task, _task)
    if not file.size:
        raise BadLossFileError("the file is empty (0 bytes)")
    async with shared.workbench.turn(caller.owner) as bench:
        converted = await bench.run(importing.convert, await file.read(), described)
    stem = plain_name(file.filename or "", "imported").rpartition(".")[0] or "imported"
    return await anyio.to_thread.run_sync(
        lambda: creation.commit(
            lambda session: _keep(
                session, shared.installation, converted, name=name or stem, caller=caller
            )
        )
    )


@router.get("/{loss_id}", operation_id="get_loss", responses=documented(404))
def get_loss(loss_id: LossId, caller: Reader, installed: Installed) -> LossOut:
    """One loss."""
    with installed.database.read() as session:
        loss = catalogue.get(session, loss_id, caller)
        return LossOut.of(loss, catalogue.files(session, loss.id))


@router.get(
    "/{loss_id}/content",
    operation_id="get_loss_content",
    response_class=Response,
    responses=RESPONSES,
)
@router.head("/{loss_id}/content", include_in_schema=False)
def get_loss_content(
    request: Request,
    loss_id: LossId,
    caller: Reader,
    installed: Installed,
    file_format: Annotated[LossFormat, Query(alias="format")] = "safetensors",
) -> Response:
    """The loss as a file."""
    with installed.database.read() as session:
        loss = catalogue.get(session, loss_id, caller)
        file = catalogue.file(session, loss.id, file_format)
    return download(
        request,
        installed.blobs,
        file,
        media_type=catalogue.MEDIA_TYPES[file_format],
        filename=f"{plain_name(loss.name, loss.id)}.{file_format}",
    )


@router.get(
    "/{loss_id}/card",
    operation_id="get_loss_card",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/markdown": {}}}, **documented(404)},
)
def get_loss_card(loss_id: LossId, caller: Reader, installed: Installed) -> Response:
    """What the loss is, how it was made and how to use it, in Markdown."""
    with installed.database.read() as session:
        loss = catalogue.get(session, loss_id, caller)
        card = write_card(loss, catalogue.files(session, loss.id))
    return Response(card, media_type="text/markdown; charset=utf-8")


@router.post(
    "/{loss_id}/compare",
    operation_id="compare_images",
    responses=documented(404),
)
async def compare_images(
    loss_id: LossId, caller: Reader, shared: Shared, wanted: ComparisonIn
) -> ComparisonOut:
    """What the loss says of an image and its reference, with the share of each scale and tap."""
    async with shared.workbench.turn(caller.owner) as bench:
        files = await anyio.to_thread.run_sync(
            _comparands, shared.installation, loss_id, wanted, caller
        )
        compared = await bench.run(
            comparison.compare,
            shared.installation.blobs.location,
            *files,
            maps=wanted.maps,
            gradient_wanted=wanted.gradient,
        )
    return _shown(compared)


@router.patch("/{loss_id}", operation_id="change_loss", responses=documented(404))
def change_loss(
    loss_id: LossId, caller: Writer, installed: Installed, change: NameChange
) -> LossOut:
    """Rename a loss."""
    with installed.database.write() as session:
        loss = catalogue.rename(session, loss_id, change.name, caller)
        return LossOut.of(loss, catalogue.files(session, loss.id))


@router.delete("/{loss_id}", operation_id="delete_loss", responses=documented(404, 409))
def delete_loss(loss_id: LossId, caller: Writer, installed: Installed) -> DeletedOut:
    """Delete a loss that no unfinished job needs, and its files; the job that trained it stays."""
    freed = catalogue.delete(installed.database, installed.blobs, loss_id, caller)
    return DeletedOut(id=loss_id, bytes_freed=freed)


def _keep(
    session: Session,
    installation: Installation,
    converted: Converted,
    *,
    name: str,
    caller: Caller,
) -> Created:
    quotas.check_storage(session, caller, sum(map(len, converted.files.values())))
    loss = catalogue.add_imported(
        session,
        caller=caller,
        name=name,
        manifest=converted.manifest,
        files=catalogue.store(session, installation.blobs, converted.files),
    )
    body = LossOut.of(loss, catalogue.files(session, loss.id))
    return Created(status=201, body=body, location=f"/v1/losses/{loss.id}")


def _comparands(
    installation: Installation, loss_id: str, wanted: ComparisonIn, caller: Caller
) -> tuple[str, bytes, bytes]:
    with installation.database.read() as session:
        loss = catalogue.get(session, loss_id, caller)
        artefact = catalogue.file(session, loss.id, "safetensors")
        image = images.referenced(session, wanted.image_id, caller, "/image_id")
        reference = images.referenced(
            session, wanted.reference_image_id, caller, "/reference_image_id"
        )
    comparison.check_sizes((image.width, image.height), (reference.width, reference.height))
    return (
        artefact.blob,
        read_image(installation.blobs, image),
        read_image(installation.blobs, reference),
    )


def _shown(compared: Comparison) -> ComparisonOut:
    return ComparisonOut(
        value=compared.value,
        terms=[
            TermOut(scale=term.scale, tap=term.tap, value=term.value) for term in compared.terms
        ],
        maps=[
            DifferenceMapOut(
                scale=each.scale,
                tap=each.tap,
                peak=each.peak,
                png_base64=b64encode(each.png).decode(),
            )
            for each in compared.maps
        ],
        gradient=None
        if compared.gradient is None
        else GradientOut(
            peak=compared.gradient.peak, png_base64=b64encode(compared.gradient.png).decode()
        ),
    )
