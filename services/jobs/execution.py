"""Running a claimed job to the end of the attempt, whatever that end is."""

import logging
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from services.database.schema import Image, Job
from services.estimates import measurements
from services.images import catalogue
from services.installation import Installation
from services.jobs import artifacts, checkpoints, parts
from services.jobs.claims import StaleRunError
from services.jobs.failures import describe
from services.jobs.run import JobRun, Publish
from services.losses import catalogue as losses
from services.phase1.recipe import DiscriminatorTraining, Recipe, scale_sizes
from services.run import Canceled, Paused

# Runs the job; what it returns writes the result's rows, in the transaction that ends the job.
Computation = Callable[[Installation, Job, JobRun], Publish]

_log = logging.getLogger(__name__)


def execute(
    installation: Installation, run: JobRun, computations: Mapping[str, Computation]
) -> None:
    """Run the job; when this returns, the attempt has ended and its row says how.

    Raises StaleRunError if the job was taken from this run, and OperationalError if the
    database stays away: then the process must end, and another attempt is made.
    """
    with installation.database.read() as session:
        job = session.get_one(Job, run.claim.job_id)
    if job.token != run.claim.token:
        raise StaleRunError(job.id)
    try:
        run.publish(computations[job.type](installation, job, run))
    except (Paused, Canceled):
        run.give_back()
    except (StaleRunError, OperationalError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is becomes the job's error
        told = describe(error)
        # What the owner or a full disk can mend needs no traceback.
        is_ours = told["code"] in ("internal", "out_of_memory")
        _log.error("job %s failed: %s", job.id, told["code"], exc_info=is_ours)
        run.fail(told)
    else:
        checkpoints.sweep(installation.blobs, run.claim, keep=None)
        parts.sweep(installation.blobs, job.id)


def train_discriminators(installation: Installation, job: Job, run: JobRun) -> Publish:
    """Train the loss that the job's spec describes, and store its files."""
    from services.phase1.job import run_discriminator_training
    from services.phase1.training import Seed

    spec = DiscriminatorTraining.model_validate(job.spec)
    blobs = installation.blobs
    with installation.database.read() as session:
        found = session.scalars(select(Image).where(Image.id.in_(spec.seed_image_ids)))
        rows = {row.id: row for row in found}
    images = [rows[image_id] for image_id in spec.seed_image_ids]
    run.plan(iteration_costs(spec.resolved_recipe(), [(row.width, row.height) for row in images]))
    seeds = [Seed(row.digest, catalogue.pixels(catalogue.read(blobs, row))) for row in images]

    package = run_discriminator_training(spec, seeds, run)

    sheet = blobs.put(artifacts.blob_key(job, "contact_sheet"), package.contact_sheet)
    put = losses.put(blobs, package.files)

    def publish(session: Session, job: Job) -> None:
        files = losses.store(session, blobs, package.files, put=put)
        losses.add_trained(session, job=job, manifest=package.manifest.to_dict(), files=files)
        artifacts.publish(session, job, kind="contact_sheet", media_type="image/png", file=sheet)
        measurements.note(session, job)

    return publish


def iteration_costs(recipe: Recipe, sizes: Sequence[tuple[int, int]]) -> list[float]:
    """Relative time of an iteration in each scale, for seeds of these (width, height) in px.

    A fixed part for the many small steps, and one that grows with pixels and with width.
    """
    costs = [0.0] * recipe.scales
    for width, height in sizes:
        for scale, (columns, rows) in enumerate(scale_sizes(recipe, width, height)):
            side = recipe.crop or max(columns, rows)
            pixels = min(columns, side) * min(rows, side)
            costs[scale] += _FIXED_PIXELS + pixels * recipe.width_at(scale) / recipe.width
    return costs


# Below about this many pixels an iteration's time no longer falls with its image.
_FIXED_PIXELS = 64 * 64


def train_restorer(installation: Installation, job: Job, run: JobRun) -> Publish:
    """Train the model that the job's spec describes, and store its files."""
    from services.phase2.job import train_restorer_job

    return train_restorer_job(installation, job, run)


def restore_images(installation: Installation, job: Job, run: JobRun) -> Publish:
    """Restore the images that the job's spec names, and store the files."""
    from services.restoration.job import restore_images_job

    return restore_images_job(installation, job, run)


def evaluate_models(installation: Installation, job: Job, run: JobRun) -> Publish:
    """Compare the models that the job's spec names, and store what came of it."""
    from services.evaluation.job import evaluate_models_job

    return evaluate_models_job(installation, job, run)


def import_dataset(installation: Installation, job: Job, run: JobRun) -> Publish:
    """Make the data set of what was uploaded for it, or of its folder."""
    from services.datasets.importing import import_dataset_job

    return import_dataset_job(installation, job, run)


COMPUTATIONS: Mapping[str, Computation] = {
    "restoration": restore_images,
    "dataset_import": import_dataset,
    "evaluation": evaluate_models,
    "restoration_training": train_restorer,
    "discriminator_training": train_discriminators,
}
