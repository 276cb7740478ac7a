"""What a job needs is there, is the caller's, and fits: checked when it is submitted or retried.

What a spec names is held until the transaction ends, and then looked at: nobody deletes it
before the job is there. Always in the order of names, so that two submits that name the same
never wait for each other.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy.orm import Session

from services.access import Caller
from services.database import hold
from services.database.schema import Image
from services.errors import BadInputError, Problem
from services.images import catalogue as images
from services.jobs.specs import AnySpec
from services.phase1.recipe import DiscriminatorTraining, check_seed_size
from services.restoration.spec import Restoration
from services.restorers import catalogue as models


def admit(session: Session, spec: AnySpec, caller: Caller) -> dict[str, Any]:
    """The spec as it is stored: complete, so that what the job does is fixed by its row.

    Raises BadInputError for what is not there, is not ready, or does not fit.
    """
    match spec:
        case DiscriminatorTraining():
            _check_seeds(session, spec, caller)
            return _dumped(spec) | {"recipe": spec.resolved_recipe().model_dump(mode="json")}
        case Restoration():
            _check_restoration(session, spec, caller)
            return _dumped(spec)


def _check_seeds(session: Session, spec: DiscriminatorTraining, caller: Caller) -> None:
    recipe = spec.resolved_recipe()
    for pointer, image in _held_images(session, spec.seed_image_ids, "/seed_image_ids", caller):
        try:
            check_seed_size(recipe, image.width, image.height)
        except BadInputError as error:
            raise BadInputError(
                f"image {image.id}: {error.message}", problems=(Problem(pointer, error.message),)
            ) from None


def _check_restoration(session: Session, spec: Restoration, caller: Caller) -> None:
    hold(session, spec.model_id)
    models.referenced(session, spec.model_id, caller, "/model_id")
    if spec.image_ids is not None:
        _held_images(session, spec.image_ids, "/image_ids", caller)


def _held_images(
    session: Session, image_ids: tuple[str, ...], pointer: str, caller: Caller
) -> list[tuple[str, Image]]:
    """The images in the order of the spec, held, each with the JSON pointer to its id."""
    found = list(_images(session, image_ids, pointer, caller))
    for digest in sorted({image.digest for _, image in found}):
        hold(session, digest)
    return list(_images(session, image_ids, pointer, caller))


def _images(
    session: Session, image_ids: tuple[str, ...], pointer: str, caller: Caller
) -> Iterator[tuple[str, Image]]:
    for position, image_id in enumerate(image_ids):
        place = f"{pointer}/{position}"
        yield place, images.referenced(session, image_id, caller, place)


def _dumped(spec: AnySpec) -> dict[str, Any]:
    return spec.model_dump(mode="json")
