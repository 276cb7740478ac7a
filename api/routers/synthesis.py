"""`/v1/images/synthesize`: seeds that are no photographs."""

from fastapi import APIRouter, Response
from services.images.synthesis import Synthesis, synthesise

from api.access import Writer
from api.bodies import StrictRoute
from api.creation import Creating
from api.errors import documented
from api.routers.images import store
from api.runtime import Installed
from api.schemas import ImageOut
from services.images import catalogue

router = APIRouter(prefix="/v1/images", tags=["images"], route_class=StrictRoute)


@router.post(
    "/synthesize",
    status_code=201,
    response_model=ImageOut,
    operation_id="synthesize_image",
    responses={
        200: {"model": ImageOut, "description": "the caller has these pixels already"},
        **documented(400, 401, 403, 409, 413, 415, 422, 507),
    },
)
def synthesize_image(
    caller: Writer, creation: Creating, installed: Installed, synthesis: Synthesis
) -> Response:
    """Make a synthetic seed."""
    source = None
    if synthesis.kind == "pyramid-permutation":
        with installed.database.read() as session:
            image = catalogue.get(session, synthesis.image_id, caller)
        source = catalogue.pixels(installed.blobs.get(image.blob))
    pixels = synthesise(synthesis, source)
    decoded = catalogue.from_pixels(pixels, {"synthesis": synthesis.model_dump(mode="json")})
    return store(creation, decoded, synthesis.kind, caller)
