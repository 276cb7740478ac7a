"""What a job needs is there, is the caller's, and fits: checked when it is submitted or retried.

What a spec names is held until the transaction ends, and then looked at: nobody deletes it
before the job is there. Always in the order of names, so that two submits that name the same
never wait for each other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import BigInteger, cast, or_, select
from sqlalchemy.orm import Session

from services.access import Caller
from services.database import hold
from services.database.schema import DatasetImage, Loss, Model
from services.datasets import catalogue as datasets
from services.datasets.spec import DatasetImport
from services.errors import BadInputError, NotFoundError, Problem
from services.evaluation import selection
from services.evaluation.spec import SMALLEST_SIDES, Evaluation
from services.images import catalogue as images
from services.jobs.specs import AnySpec
from services.losses import catalogue as losses
from services.phase1.recipe import DiscriminatorTraining, check_seed_size
from services.phase2 import objective
from services.phase2.recipe import RestorationTraining, RestorerPlan, check_accord
from services.phase2.tasks import AnyTask
from services.restoration.size import check_size, largest
from services.restoration.spec import Restoration
from services.restorers import catalogue as models
from services.restorers.networks import NETWORK


def admit(session: Session, spec: AnySpec, caller: Caller) -> dict[str, Any]:
    """The spec as it is stored: complete, so that what the job does is fixed by its row.

    Raises BadInputError for what is not there, is not ready, or does not fit.
    """
    match spec:
        case DiscriminatorTraining():
            _check_seeds(session, spec, caller)
            return _dumped(spec) | {"recipe": spec.resolved_recipe().model_dump(mode="json")}
        case RestorationTraining():
            return _admit_restoration_training(session, spec, caller)
        case Restoration():
            _check_restoration(session, spec, caller)
            return _dumped(spec)
        case Evaluation():
            return _admit_evaluation(session, spec, caller)
        case DatasetImport():
            _check_import(session, spec, caller)
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


def _admit_restoration_training(
    session: Session, spec: RestorationTraining, caller: Caller
) -> dict[str, Any]:
    plan = spec.resolved()
    loss_ids = objective.loss_ids(plan.loss)
    _hold_all(session, spec.dataset_id, spec.validation_dataset_id, spec.start_from, *loss_ids)
    datasets.referenced(session, spec.dataset_id, caller, "/dataset_id")
    if spec.validation_dataset_id is not None:
        datasets.referenced(session, spec.validation_dataset_id, caller, "/validation_dataset_id")
    used = {each: losses.referenced(session, each, caller, "/loss") for each in sorted(loss_ids)}
    _check_patch(plan, used)
    if spec.start_from is not None:
        _check_start(plan, models.referenced(session, spec.start_from, caller, "/start_from"))
    digests = {loss_id: loss.sha256 for loss_id, loss in used.items()}
    complete = plan.model_copy(update={"loss": objective.pinned(plan.loss, digests)})
    return _dumped(spec) | complete.model_dump(mode="json")


def _check_patch(plan: RestorerPlan, used: Mapping[str, Loss]) -> None:
    sides = {loss_id: losses.smallest_side(loss) for loss_id, loss in used.items()}
    smallest = objective.smallest_patch(plan.loss, sides)
    if plan.recipe.patch < smallest:
        message = (
            f"patch is {plan.recipe.patch} px; the loss needs at least {smallest} px: use larger "
            "patches"
        )
        raise BadInputError(message, problems=(Problem("/recipe/patch", message),))


def _check_start(plan: RestorerPlan, start: Model) -> None:
    wanted = plan.network.model_dump(mode="json")
    given = start.manifest["network"]
    if given != wanted:
        raise BadInputError(
            f"model {start.id} is the network {given}, and the training's is {wanted}: give "
            "`network` as the model has it, or start from none",
            problems=(Problem("/start_from", "is another network"),),
        )


def _check_restoration(session: Session, spec: Restoration, caller: Caller) -> None:
    _hold_all(session, spec.model_id, spec.dataset_id)
    model = models.referenced(session, spec.model_id, caller, "/model_id")
    scale = NETWORK.validate_python(model.manifest["network"]).scale
    if spec.dataset_id is not None:
        datasets.referenced(session, spec.dataset_id, caller, "/dataset_id")
        _check_pictures(session, spec, scale, spec.dataset_id)
    if spec.image_ids is not None:
        for pointer, image in _held_images(session, spec.image_ids, "/image_ids", caller):
            _check_result(spec, scale, image.name, (image.width, image.height), pointer)


def _check_pictures(session: Session, spec: Restoration, scale: int, dataset_id: str) -> None:
    """Of a data set: there may be a hundred thousand, and others wait to write.

    So the database looks for the first that is too large.
    """
    pixels, side = largest(scale, spec.format)
    width, height = DatasetImage.width, DatasetImage.height
    too_large = or_(cast(width, BigInteger) * height > pixels, width > side, height > side)
    query = select(DatasetImage.name, width, height).where(
        DatasetImage.dataset_id == dataset_id, too_large
    )
    for first in session.execute(query.order_by(DatasetImage.position).limit(1)):
        _check_result(spec, scale, first.name, (first.width, first.height), "/dataset_id")


def _check_result(
    spec: Restoration, scale: int, name: str, size: tuple[int, int], pointer: str
) -> None:
    try:
        check_size(size, scale, spec.format)
    except BadInputError as error:
        raise BadInputError(
            f"{name}: {error.message}", problems=(Problem(pointer, error.message),)
        ) from None


def _admit_evaluation(session: Session, spec: Evaluation, caller: Caller) -> dict[str, Any]:
    _hold_all(session, spec.dataset_id, *spec.model_ids, *spec.loss_ids)
    rows = [
        models.referenced(session, model_id, caller, f"/model_ids/{place}")
        for place, model_id in enumerate(spec.model_ids)
    ]
    networks = {row.id: NETWORK.validate_python(row.manifest["network"]) for row in rows}
    task = spec.task or _common_task(rows)
    for place, (model_id, network) in enumerate(networks.items()):
        try:
            check_accord(task, network)
        except ValueError as error:
            raise BadInputError(
                f"model {model_id}: {error}", problems=(Problem(f"/model_ids/{place}", str(error)),)
            ) from None
    used = [
        losses.referenced(session, loss_id, caller, f"/loss_ids/{place}")
        for place, loss_id in enumerate(spec.loss_ids)
    ]
    datasets.referenced(session, spec.dataset_id, caller, "/dataset_id")
    sides = [SMALLEST_SIDES[name] for name in spec.metrics]
    sides += [losses.smallest_side(loss) for loss in used]
    smallest = selection.smallest_side(sides, selection.common_multiple(task, networks.values()))
    if smallest > spec.crop:
        message = f"crop is {spec.crop} px; the metrics and the models need {smallest} px"
        raise BadInputError(message, problems=(Problem("/crop", message),))
    large = DatasetImage.width >= smallest, DatasetImage.height >= smallest
    mine = select(DatasetImage.position).where(DatasetImage.dataset_id == spec.dataset_id, *large)
    if session.scalar(mine.limit(1)) is None:
        message = (
            f"data set {spec.dataset_id} has no image of {smallest} px or more on each side, as "
            "the metrics and the models need"
        )
        raise BadInputError(message, problems=(Problem("/dataset_id", message),))
    return _dumped(spec) | {"task": task.model_dump(mode="json")}


def _common_task(rows: Sequence[Model]) -> AnyTask:
    """What all of the models undo."""
    adapter: TypeAdapter[AnyTask] = TypeAdapter(AnyTask)
    tasks = []
    for place, row in enumerate(rows):
        if not row.manifest["task"]:
            message = f"model {row.id} does not tell what it was trained for: give `task`"
            raise BadInputError(message, problems=(Problem(f"/model_ids/{place}", message),))
        tasks.append(adapter.validate_python(row.manifest["task"]))
    for place, task in enumerate(tasks):
        if task != tasks[0]:
            message = (
                f"models {rows[0].id} and {rows[place].id} were trained for different tasks: give "
                "the `task` to compare them by"
            )
            raise BadInputError(message, problems=(Problem(f"/model_ids/{place}", message),))
    return tasks[0]


def _check_import(session: Session, spec: DatasetImport, caller: Caller) -> None:
    hold(session, spec.dataset_id)
    try:
        datasets.get(session, spec.dataset_id, caller)
    except NotFoundError:
        raise BadInputError(f"there is no data set {spec.dataset_id}") from None


def _held_images(
    session: Session, image_ids: tuple[str, ...], pointer: str, caller: Caller
) -> list[tuple[str, images.Listed]]:
    """The images in the order of the spec, held, each with the JSON pointer to its id."""
    found = images.all_referenced(session, image_ids, caller, pointer)
    _hold_all(session, *(image.digest for image in found))
    found = images.all_referenced(session, image_ids, caller, pointer)
    return [(f"{pointer}/{place}", image) for place, image in enumerate(found)]


def _hold_all(session: Session, *names: str | None) -> None:
    for name in sorted({name for name in names if name is not None}):
        hold(session, name)


def _dumped(spec: AnySpec) -> dict[str, Any]:
    return spec.model_dump(mode="json")
