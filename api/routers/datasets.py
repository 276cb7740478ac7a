"""`/v1/datasets`: make, upload in parts, look at, delete."""

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, BackgroundTasks, Header, Path, Request, Response
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.access import Reader, Writer
from api.bodies import StrictRoute
from api.creation import Created, Creating
from api.downloads import RESPONSES, download, plain_name, stored
from api.errors import documented
from api.paging import Cursor, Limit, PageOut, PositionCursor, link_next
from api.runtime import Installed, Runtime, Shared
from api.schemas import DatasetImageOut, DatasetIn, DatasetOut, DeletedOut
from services.access import Caller
from services.blobs import StoredFile
from services.datasets import catalogue, uploads
from services.errors import NotFoundError

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=StrictRoute)

DatasetId = Annotated[str, Path(description="`ds_…`", max_length=64)]
Position = Annotated[int, Path(ge=0, le=10**9, description="from 0, in the order of names")]

_LONGEST_SILENCE = 60  # seconds
_MEDIA_TYPE = "application/octet-stream"
_UPLOAD_HEADERS = {
    "Upload-Offset": {"description": "bytes that are kept", "schema": {"type": "integer"}},
    "Upload-Length": {"description": "bytes of the whole", "schema": {"type": "integer"}},
}


@router.post(
    "",
    status_code=201,
    response_model=DatasetOut,
    operation_id="create_dataset",
    responses=documented(409, 507),
)
def create_dataset(
    caller: Writer,
    creation: Creating,
    shared: Shared,
    background: BackgroundTasks,
    wanted: DatasetIn,
) -> Response:
    """Begin a data set: upload its archive next, or wait for the import of its folder."""

    def create(session: Session) -> Created:
        dataset, job = uploads.create(
            session,
            shared.installation,
            wanted.source,
            name=wanted.name,
            on_bad_file=wanted.on_bad_file,
            caller=caller,
        )
        if job is not None:
            background.add_task(shared.announcements.announce, job.id, job.type)
        (described,) = catalogue.describe(session, [dataset])
        location = f"/v1/datasets/{dataset.id}"
        return Created(status=201, body=DatasetOut.of(described), location=location)

    return creation.commit(create)


@router.get("", operation_id="list_datasets")
def list_datasets(
    *,
    request: Request,
    response: Response,
    caller: Reader,
    installed: Installed,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageOut[DatasetOut]:
    """The caller's data sets, newest first."""
    with installed.database.read() as session:
        page = catalogue.list_datasets(session, caller, limit=limit, cursor=cursor)
        link_next(request, response, cursor=page.next_cursor)
        data = [DatasetOut.of(each) for each in catalogue.describe(session, page.items)]
        return PageOut(data=data, next_cursor=page.next_cursor)


@router.get("/{dataset_id}", operation_id="get_dataset", responses=documented(404))
def get_dataset(dataset_id: DatasetId, caller: Reader, installed: Installed) -> DatasetOut:
    """One data set."""
    with installed.database.read() as session:
        dataset = catalogue.get(session, dataset_id, caller)
        (described,) = catalogue.describe(session, [dataset])
        return DatasetOut.of(described)


@router.head(
    "/{dataset_id}/content",
    operation_id="get_dataset_offset",
    response_class=Response,
    responses={
        200: {"description": "how far the upload is", "headers": _UPLOAD_HEADERS},
        **documented(404, 409),
    },
)
def get_dataset_offset(dataset_id: DatasetId, caller: Reader, installed: Installed) -> Response:
    """How many bytes of the archive are kept: where the next part must begin."""
    with installed.database.read() as session:
        dataset = uploads.upload(session, dataset_id, caller)
    headers = {
        "Upload-Offset": str(dataset.received),
        "Upload-Length": str(dataset.size),
        "Cache-Control": "no-store",
    }
    return Response(headers=headers)


@router.patch(
    "/{dataset_id}/content",
    status_code=204,
    operation_id="upload_dataset",
    response_class=Response,
    responses={
        204: {
            "description": "the bytes are kept",
            "headers": {"Upload-Offset": _UPLOAD_HEADERS["Upload-Offset"]},
        },
        **documented(404, 408, 409, 507),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload_dataset(
    request: Request,
    dataset_id: DatasetId,
    caller: Writer,
    shared: Shared,
    upload_offset: Annotated[
        int, Header(ge=0, le=1 << 62, description="where the bytes begin in the archive")
    ],
) -> Response:
    """Send the archive's bytes from an offset on, as many as you like.

    They are kept as they arrive: after a broken connection, HEAD tells how far they came. The
    import begins when the last one is there.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != _MEDIA_TYPE:
        raise HTTPException(
            415, f"{request.url.path} takes {_MEDIA_TYPE}, not {given or 'nothing'}"
        )
    with shared.uploads.taken_by(caller.owner):
        try:
            offset = await _receive(request, shared, dataset_id, upload_offset, caller)
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody
    return Response(status_code=204, headers={"Upload-Offset": str(offset)})


@router.get(
    "/{dataset_id}/images",
    operation_id="list_dataset_images",
    responses=documented(404),
)
def list_dataset_images(
    *,
    request: Request,
    response: Response,
    dataset_id: DatasetId,
    caller: Reader,
    installed: Installed,
    limit: Limit = 50,
    cursor: PositionCursor = None,
) -> PageOut[DatasetImageOut]:
    """The pictures of a data set, in the order of their names."""
    with installed.database.read() as session:
        catalogue.get(session, dataset_id, caller)
        page = catalogue.images(session, dataset_id, limit=limit, cursor=cursor)
        link_next(request, response, cursor=page.next_cursor)
        data = [DatasetImageOut.of(each) for each in page.items]
        return PageOut(data=data, next_cursor=page.next_cursor)


@router.get(
    "/{dataset_id}/images/{position}/content",
    operation_id="get_dataset_image_content",
    response_class=Response,
    responses=RESPONSES,
)
@router.head("/{dataset_id}/images/{position}/content", include_in_schema=False)
def get_dataset_image_content(
    request: Request,
    dataset_id: DatasetId,
    position: Position,
    caller: Reader,
    installed: Installed,
) -> Response:
    """One picture of a data set, as PNG."""
    with installed.database.read() as session:
        catalogue.get(session, dataset_id, caller)
        image = catalogue.image(session, dataset_id, position)
    file = StoredFile(blob=image.blob, size=image.size, sha256=image.sha256)
    stem = plain_name(image.name.rpartition("/")[2].rpartition(".")[0], f"image-{position}")
    return download(request, installed.blobs, file, media_type="image/png", filename=f"{stem}.png")


@router.get(
    "/{dataset_id}/sheet",
    operation_id="get_dataset_sheet",
    response_class=Response,
    responses=RESPONSES,
)
@router.head("/{dataset_id}/sheet", include_in_schema=False)
def get_dataset_sheet(
    request: Request, dataset_id: DatasetId, caller: Reader, installed: Installed
) -> Response:
    """Thumbnails of the data set's pictures, or of 48 of many, as one PNG."""
    with installed.database.read() as session:
        dataset = catalogue.get(session, dataset_id, caller)
    if dataset.sheet is None:
        raise NotFoundError(f"data set {dataset_id} has no sheet: it is not ready")
    file = stored(installed.blobs, dataset.sheet)
    filename = f"{plain_name(dataset.name, dataset.id)}-sheet.png"
    return download(request, installed.blobs, file, media_type="image/png", filename=filename)


@router.delete("/{dataset_id}", operation_id="delete_dataset", responses=documented(404, 409))
def delete_dataset(dataset_id: DatasetId, caller: Writer, installed: Installed) -> DeletedOut:
    """Delete a data set that no unfinished job uses, its own import included."""
    freed = catalogue.delete(installed.database, installed.blobs, dataset_id, caller)
    return DeletedOut(id=dataset_id, bytes_freed=freed)


async def _receive(
    request: Request, shared: Runtime, dataset_id: str, offset: int, caller: Caller
) -> int:
    """Keep the body part by part; gives the offset after it."""
    declared = request.headers.get("content-length", "")
    length = int(declared) if declared.isdecimal() else 0
    await anyio.to_thread.run_sync(_check, shared, dataset_id, offset, length, caller)
    gathered = bytearray()

    async def keep(size: int) -> None:
        nonlocal offset
        part = bytes(gathered[:size])
        del gathered[:size]
        _, job = await anyio.to_thread.run_sync(
            uploads.append, shared.installation, dataset_id, offset, part, caller
        )
        offset += len(part)
        if job is not None:
            await shared.announcements.announce(job.id, job.type)

    try:
        async for chunk in _chunks(request):
            gathered += chunk
            while len(gathered) > uploads.PART_BYTES:
                await keep(uploads.PART_BYTES)
    except (ClientDisconnect, HTTPException):
        await keep(len(gathered))  # what has come is kept all the same
        raise
    await keep(len(gathered))
    return offset


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes; a sender who is silent for long makes room for others."""
    chunks = request.stream()
    while True:
        with anyio.move_on_after(_LONGEST_SILENCE) as waiting:
            chunk = await anext(chunks, None)
        if waiting.cancelled_caught:
            raise HTTPException(
                408, f"nothing has come for {_LONGEST_SILENCE} seconds: go on where the upload is"
            )
        if chunk is None:
            return
        yield chunk


def _check(shared: Runtime, dataset_id: str, offset: int, length: int, caller: Caller) -> None:
    """Refuse what will not be kept before any of it has come."""
    with shared.installation.database.read() as session:
        dataset = uploads.upload(session, dataset_id, caller)
        uploads.check_part(dataset, offset, length)
