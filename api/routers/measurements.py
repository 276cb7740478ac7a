"""`/v1/images/{id}/measure`: how close a restored image is to one that is stored."""

from dataclasses import replace
from functools import partial
from typing import Annotated

import anyio
from fastapi import APIRouter, File, Request, UploadFile

from api.access import Reader
from api.bodies import IMAGE_FORM, NOT_EMPTY, StrictRoute
from api.downloads import read_image
from api.errors import documented
from api.routers.images import ImageId
from api.runtime import Runtime, Shared, decoder_turn
from api.schemas import MeasurementOut, MeasurementsOut
from services.access import Caller
from services.database.schema import Image
from services.images import catalogue
from services.images.decoding import Limits, decode
from services.restoration import measuring

router = APIRouter(prefix="/v1/images", tags=["images"], route_class=StrictRoute)


@router.post(
    "/{image_id}/measure",
    operation_id="measure_image",
    openapi_extra=IMAGE_FORM,
    responses=documented(404, 507),
)
async def measure_image(
    request: Request,
    image_id: ImageId,
    caller: Reader,
    shared: Shared,
    file: Annotated[UploadFile, File(json_schema_extra=NOT_EMPTY)],
) -> MeasurementsOut:
    """How close a file, which is not kept, is to this image: PSNR, SSIM and other metrics."""
    image = await anyio.to_thread.run_sync(_image, shared, image_id, caller)
    measuring.check_reference(image.width, image.height)
    limits = replace(Limits.of(shared.installation.settings), min_side=1)
    async with decoder_turn(request):
        decoded = await anyio.to_thread.run_sync(partial(decode, await file.read(), limits))
    measuring.check_sizes((decoded.width, decoded.height), (image.width, image.height))
    async with shared.workbench.turn(caller.owner) as bench:
        reference = await anyio.to_thread.run_sync(read_image, shared.installation.blobs, image)
        found = await bench.run(measuring.measure, decoded.png, reference)
    return MeasurementsOut(metrics=[MeasurementOut.model_validate(each) for each in found])


def _image(shared: Runtime, image_id: str, caller: Caller) -> Image:
    with shared.installation.database.read() as session:
        return catalogue.get(session, image_id, caller)
