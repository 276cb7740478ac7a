"""`/v1/images`: upload, synthesis, list, download, delete."""

from functools import partial
from typing import Annotated

import anyio
from fastapi import APIRouter, File, Path, Request, Response, UploadFile
from sqlalchemy.orm import Session

from api.access import Reader, Writer
from api.bodies import IMAGE_FORM, NOT_EMPTY, StrictRoute
from api.creation import Created, Creating, Creation
from api.downloads import RESPONSES, download, plain_name
from api.errors import documented
from api.paging import Cursor, Limit, PageOut, link_next
from api.runtime import Installed, Shared, decoder_turn
from api.schemas import DeletedOut, ImageOut
from services.access import Caller
from services.blobs import StoredFile
from services.images import catalogue
from services.images.decoding import DecodedImage, Limits, decode

router = APIRouter(prefix="/v1/images", tags=["images"], route_class=StrictRoute)

ImageId = Annotated[str, Path(description="`img_…`", max_length=64)]


@router.post(
    "",
    status_code=201,
    response_model=ImageOut,
    operation_id="upload_image",
    openapi_extra=IMAGE_FORM,
    responses={
        200: {"model": ImageOut, "description": "the caller has these pixels already"},
        **documented(409, 507),
    },
)
async def upload_image(
    request: Request,
    caller: Writer,
    creation: Creating,
    shared: Shared,
    file: Annotated[UploadFile, File(json_schema_extra=NOT_EMPTY)],
) -> Response:
    """Store a PNG, JPEG, WebP or TIFF file: its pixels, as 8-bit sRGB.

    One frame, of 32 to 8192 pixels a side and 25 megapixels (9 as WebP; fewer of some
    progressive JPEG and TIFF, too); the file has 25 MB at most. The EXIF orientation is applied,
    16 bits become 8, CMYK and grey become RGB; `source` tells which.
    Transparency is kept for restoration; training sees it over white.
    """
    limits = Limits.of(shared.installation.settings)
    async with decoder_turn(request):
        content = await file.read()
        decoded = await anyio.to_thread.run_sync(partial(decode, content, limits, keep_alpha=True))
    name = plain_name(file.filename or "", fallback="image")
    return await anyio.to_thread.run_sync(store, creation, decoded, name, caller)


@router.get("", operation_id="list_images")
def list_images(
    *,
    request: Request,
    response: Response,
    caller: Reader,
    installed: Installed,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageOut[ImageOut]:
    """The caller's images, newest first."""
    with installed.database.read() as session:
        page = catalogue.list_images(session, caller, limit=limit, cursor=cursor)
        link_next(request, response, cursor=page.next_cursor)
        return PageOut(data=[ImageOut.of(row) for row in page.items], next_cursor=page.next_cursor)


@router.get("/{image_id}", operation_id="get_image", responses=documented(404))
def get_image(image_id: ImageId, caller: Reader, installed: Installed) -> ImageOut:
    """One image."""
    with installed.database.read() as session:
        return ImageOut.of(catalogue.get(session, image_id, caller))


@router.get(
    "/{image_id}/content",
    operation_id="get_image_content",
    response_class=Response,
    responses=RESPONSES,
)
@router.head("/{image_id}/content", include_in_schema=False)
def get_image_content(
    request: Request, image_id: ImageId, caller: Reader, installed: Installed
) -> Response:
    """The image as PNG."""
    with installed.database.read() as session:
        image = catalogue.get(session, image_id, caller)
    stem = plain_name(image.name, image.id)
    return download(
        request,
        installed.blobs,
        StoredFile(blob=image.blob, size=image.size, sha256=image.sha256),
        media_type="image/png",
        filename=stem if stem.lower().endswith(".png") else f"{stem}.png",
    )


@router.delete("/{image_id}", operation_id="delete_image", responses=documented(404, 409))
def delete_image(image_id: ImageId, caller: Writer, installed: Installed) -> DeletedOut:
    """Delete an image that no unfinished job needs."""
    freed = catalogue.delete(installed.database, installed.blobs, image_id, caller)
    return DeletedOut(id=image_id, bytes_freed=freed)


def store(creation: Creation, decoded: DecodedImage, name: str, caller: Caller) -> Response:
    """Keep an image, and answer what became of it."""
    blobs = creation.installation.blobs

    def keep(session: Session) -> Created:
        image, created = catalogue.add(session, blobs, decoded, name=name, caller=caller)
        return Created(
            status=201 if created else 200,
            body=ImageOut.of(image),
            location=f"/v1/images/{image.id}",
        )

    return creation.commit(keep)
