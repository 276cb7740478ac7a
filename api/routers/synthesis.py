"""`/v1/images/synthesize`: seeds that are no photographs."""

import anyio
import numpy as np
from fastapi import APIRouter, Response
from numpy.typing import NDArray

from api.access import Writer
from api.bodies import StrictRoute
from api.creation import Creating, Creation
from api.downloads import read_image
from api.errors import documented
from api.routers.images import store
from api.runtime import Shared
from api.schemas import ImageOut
from services.access import Caller
from services.images import catalogue
from services.images.synthesis import Synthesis, synthesise
from services.installation import Installation

router = APIRouter(prefix="/v1/images", tags=["images"], route_class=StrictRoute)


@router.post(
    "/synthesize",
    status_code=201,
    response_model=ImageOut,
    operation_id="synthesize_image",
    responses={
        200: {"model": ImageOut, "description": "the caller has these pixels already"},
        **documented(404, 409, 507),
    },
)
async def synthesize_image(
    caller: Writer, creation: Creating, shared: Shared, synthesis: Synthesis
) -> Response:
    """Make a synthetic seed."""
    async with shared.workbench.turn(caller.owner) as bench:
        source = await anyio.to_thread.run_sync(_source, shared.installation, synthesis, caller)
        pixels = await bench.run(synthesise, synthesis, source)
    return await anyio.to_thread.run_sync(_keep, creation, synthesis, pixels, caller)


def _source(
    installation: Installation, synthesis: Synthesis, caller: Caller
) -> NDArray[np.uint8] | None:
    """The pixels that a permutation permutes."""
    if synthesis.kind != "pyramid-permutation":
        return None
    with installation.database.read() as session:
        image = catalogue.referenced(session, synthesis.image_id, caller, "/image_id")
    return catalogue.pixels(read_image(installation.blobs, image))


def _keep(
    creation: Creation, synthesis: Synthesis, pixels: NDArray[np.uint8], caller: Caller
) -> Response:
    source = {"synthesis": synthesis.model_dump(mode="json")}
    return store(creation, catalogue.from_pixels(pixels, source), synthesis.kind, caller)
