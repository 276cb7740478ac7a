"""What a job's spec comes to, with what it names looked up."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.database.schema import Dataset, Image, Loss
from services.estimates import phase1, phase2
from services.estimates.phase2 import Discriminators, Images
from services.estimates.speed import Load
from services.phase1.recipe import DiscriminatorTraining
from services.phase2.objective import loss_ids
from services.phase2.recipe import RestorationTraining

Training = DiscriminatorTraining | RestorationTraining


def load_of(session: Session, spec: Training) -> Load:
    """The counts of a training whose images, data sets and losses are there."""
    if isinstance(spec, DiscriminatorTraining):
        return _load_of_loss(session, spec)
    return _load_of_restorer(session, spec)


def _load_of_loss(session: Session, spec: DiscriminatorTraining) -> Load:
    recipe = spec.resolved_recipe()
    columns = select(Image.width, Image.height).where(Image.id.in_(spec.seed_image_ids))
    sizes = [(width, height) for width, height in session.execute(columns)]
    return Load(
        type=spec.type,
        work=phase1.training(recipe, sizes, len(spec.task.pipeline())),
        packed=recipe.scales,
        held_values=phase1.held_values(recipe, sizes),
        held_bytes=0,
    )


def _load_of_restorer(session: Session, spec: RestorationTraining) -> Load:
    plan = spec.resolved()
    images = _images(session, spec)
    losses = {
        loss_id: _discriminators(session.get_one(Loss, loss_id)) for loss_id in loss_ids(plan.loss)
    }
    held_values, held_bytes = phase2.held(plan, images, losses)
    return Load(
        type=spec.type,
        work=phase2.training(plan, images, losses),
        packed=1,
        held_values=held_values,
        held_bytes=held_bytes,
    )


def _images(session: Session, spec: RestorationTraining) -> Images:
    trained_on = session.get_one(Dataset, spec.dataset_id)
    if spec.validation_dataset_id is not None:
        validated = session.get_one(Dataset, spec.validation_dataset_id).images
        return Images(trained_on.images, trained_on.pixels, validated)
    share, count = spec.validation_share, trained_on.images
    validated = max(1, round(share * count)) if share and count > 1 else 0
    kept = (count - validated) / max(1, count)
    return Images(count - validated, round(kept * trained_on.pixels), validated)


def _discriminators(loss: Loss) -> Discriminators:
    manifest = loss.manifest
    return Discriminators(tuple(manifest["widths"]), manifest["layers"], manifest["padding"])
