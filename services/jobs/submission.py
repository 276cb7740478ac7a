"""Accepting a job: what is checked at the door, and the row that promises it will be done."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy.orm import Session

from services.access import Caller
from services.database import hold
from services.database.schema import Image, Job, now
from services.errors import BadInputError, Problem
from services.ids import new_id
from services.images import catalogue
from services.jobs import lifecycle
from services.jobs.lifecycle import State
from services.phase1.recipe import DiscriminatorTraining, check_seed_size


def submit(
    session: Session,
    spec: DiscriminatorTraining,
    *,
    caller: Caller,
    name: str = "",
    priority: int = 0,
    deadline: datetime | None = None,
) -> Job:
    """Store a queued job; from the commit on it will not be lost.

    Raises BadInputError if an image is not there or too small for the pyramid, or if the
    deadline has passed.
    """
    created = now()
    if deadline is not None and deadline <= created:
        raise BadInputError(
            f"the deadline {deadline.isoformat()} has passed: give a later one, or none",
            problems=(Problem("/deadline", "has passed"),),
        )
    check_seeds(session, spec, caller)
    job = Job(
        id=new_id("job"),
        owner=caller.owner,
        type=spec.type,
        name=name,
        spec=_resolved(spec),
        state=State.QUEUED.value,
        desired_state="run",
        priority=priority,
        attempt=0,
        token=0,
        deadline=deadline,
        created=created,
        queued=created,
        run_seconds=0.0,
    )
    lifecycle.insert(session, job)
    return job


def check_seeds(session: Session, spec: DiscriminatorTraining, caller: Caller) -> None:
    """Refuse a spec whose seed images the caller cannot see, or that are too small for it."""
    recipe = spec.resolved_recipe()
    # Held, and then looked at once more: nobody deletes an image before the job is there.
    # In the order of digests: submits that name the same images never wait for each other.
    for digest in sorted({image.digest for _, image in _seeds(session, spec, caller)}):
        hold(session, digest)
    for pointer, image in _seeds(session, spec, caller):
        try:
            check_seed_size(recipe, image.width, image.height)
        except BadInputError as error:
            raise BadInputError(
                f"image {image.id}: {error.message}", problems=(Problem(pointer, error.message),)
            ) from None


def _seeds(
    session: Session, spec: DiscriminatorTraining, caller: Caller
) -> Iterator[tuple[str, Image]]:
    """The seed images in the order of the spec, each with the JSON pointer to its id."""
    for position, image_id in enumerate(spec.seed_image_ids):
        pointer = f"/seed_image_ids/{position}"
        yield pointer, catalogue.referenced(session, image_id, caller, pointer)


def _resolved(spec: DiscriminatorTraining) -> dict[str, object]:
    """The spec as given, with the recipe complete: what the job does is fixed by its row."""
    return {
        **spec.model_dump(mode="json"),
        "recipe": spec.resolved_recipe().model_dump(mode="json"),
    }
