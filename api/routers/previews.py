"""`/v1/images/{id}/preview` and `/distorted`: what people look at before they train."""

from functools import lru_cache
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query, Request, Response
from pydantic import Json, RootModel

from api.access import Reader
from api.bodies import StrictRoute
from api.downloads import read_file
from api.errors import documented
from api.routers.images import ImageId
from api.runtime import Runtime, Shared, decoder_turn
from services import previews
from services.access import Caller
from services.blobs import Blobs, StoredFile
from services.images import catalogue
from services.phase1.recipe import Task
from services.previews import MAX_SIDE, NATURAL, Size, Window

router = APIRouter(prefix="/v1/images", tags=["images"], route_class=StrictRoute)


MAX_DISTORTED_SIDE = 768
# The same address always has the same pixels; images do not change.
HEADERS = {"Cache-Control": "private, max-age=86400, immutable"}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}, "description": "the picture"},
    **documented(404, 422),
}

Place = Annotated[int, Query(ge=0, le=8192, description="of the part's corner, px")]
Side = Annotated[
    int | None, Query(ge=1, le=8192, description="of the part, px; default: up to the border")
]
ToSide = Annotated[
    int | None,
    Query(
        ge=1,
        le=MAX_SIDE,
        description=f"of the picture, px; default: the part's, {MAX_SIDE} px at most",
    ),
]


class AnyTask(RootModel[Task]):
    """A task of Phase 1."""


@router.get(
    "/{image_id}/preview",
    operation_id="preview_image",
    response_class=Response,
    responses=RESPONSES,
)
async def preview_image(
    *,
    request: Request,
    image_id: ImageId,
    caller: Reader,
    shared: Shared,
    left: Place = 0,
    top: Place = 0,
    width: Side = None,
    height: Side = None,
    to_width: ToSide = None,
    to_height: ToSide = None,
) -> Response:
    """An image, or a part of it, shrunk by Lanczos as the scales of a pyramid are."""
    window = Window(left, top, width, height)
    png = await _excerpt(
        request, shared, image_id, caller, window=window, size=(to_width, to_height)
    )
    return Response(png, media_type="image/png", headers=HEADERS)


@router.get(
    "/{image_id}/distorted",
    operation_id="distort_image",
    response_class=Response,
    responses=RESPONSES,
)
async def distort_image(
    *,
    request: Request,
    image_id: ImageId,
    caller: Reader,
    shared: Shared,
    task: Annotated[
        Json[AnyTask],
        Query(description="JSON of a task; `sisr` is shown as scaled down and up by 2"),
    ],
    position: Annotated[
        float, Query(ge=0, le=1, description="of the value within each range: 0 low, 1 high")
    ] = 1.0,
    random_seed: Annotated[
        int, Query(ge=0, le=2**53 - 1, description="the same one draws the same noise")
    ] = 0,
    left: Place = 0,
    top: Place = 0,
    width: Annotated[
        int, Query(ge=1, le=MAX_DISTORTED_SIDE, description="of the part, px")
    ] = MAX_DISTORTED_SIDE,
    height: Annotated[
        int, Query(ge=1, le=MAX_DISTORTED_SIDE, description="of the part, px")
    ] = MAX_DISTORTED_SIDE,
) -> Response:
    """A part of an image, distorted as a task has it."""
    window = Window(left, top, width, height)
    # It has turns of its own, and who waits for one does not hold the workbench meanwhile.
    part = await _excerpt(request, shared, image_id, caller, window=window, size=NATURAL)
    async with shared.workbench.turn(caller.owner) as bench:
        png = await bench.run(
            previews.distorted, part, task.root, position=position, random_seed=random_seed
        )
    return Response(png, media_type="image/png", headers=HEADERS)


async def _excerpt(
    request: Request, shared: Runtime, image_id: str, caller: Caller, *, window: Window, size: Size
) -> bytes:
    file = await anyio.to_thread.run_sync(_file, shared, image_id, caller, window, size)
    async with decoder_turn(request):
        return await anyio.to_thread.run_sync(
            _cut, shared.installation.blobs, image_id, file, window, size
        )


def _file(shared: Runtime, image_id: str, caller: Caller, window: Window, size: Size) -> StoredFile:
    """The image's file, of which such a picture can be made."""
    with shared.installation.database.read() as session:
        image = catalogue.get(session, image_id, caller)
    previews.fitted(window.box(image.width, image.height), size)
    return StoredFile(blob=image.blob, size=image.size, sha256=image.sha256)


@lru_cache(maxsize=8)
def _cut(blobs: Blobs, image_id: str, file: StoredFile, window: Window, size: Size) -> bytes:
    """A part of a stored image. A slider asks for the same one again and again."""
    png = read_file(blobs, file.blob, sha256=file.sha256, of=f"image {image_id}")
    return previews.excerpt(png, window, size)
