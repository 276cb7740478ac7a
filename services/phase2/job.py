"""A job of type `restoration_training`: the trained restorer, packed and published."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue
from sqlalchemy.orm import Session

from mdf.artefact import read_artefact
from mdf.loss import MDFLoss
from models.restorers import Restorer
from services.database.schema import Dataset, Job
from services.datasets import catalogue as datasets
from services.datasets.picture import Picture
from services.estimates import measurements
from services.installation import Installation
from services.jobs import artifacts
from services.jobs.run import JobRun, Publish
from services.losses import catalogue as losses
from services.phase2.contact_sheet import draw_contact_sheet
from services.phase2.holdout import split
from services.phase2.objective import loss_ids
from services.phase2.recipe import RestorationTraining, RestorerPlan
from services.phase2.training import train_restorer
from services.restorers import catalogue as models
from services.restorers.artefact import read_restorer
from services.restorers.packing import pack


@dataclass(frozen=True)
class _Ingredients:
    """What the spec of a job names."""

    pictures: Sequence[Picture]
    validation: Sequence[Picture]
    dataset: dict[str, JsonValue]  # digest and images of the data set, before any were held out
    losses: dict[str, MDFLoss]
    initial: Restorer | None


def train_restorer_job(installation: Installation, job: Job, run: JobRun) -> Publish:
    """Train the restorer that the job's spec describes, and store its files.

    Raises: as `train_restorer`.
    """
    spec = RestorationTraining.model_validate(job.spec)
    plan, blobs = spec.resolved(), installation.blobs
    given = _gather(installation, spec, plan)
    trained = train_restorer(
        plan,
        given.pictures,
        given.validation,
        given.losses,
        run,
        initial=given.initial,
        perceptual_weights=installation.settings.perceptual_weights,
    )
    named = {**trained.manifest.dataset, **given.dataset}
    manifest = trained.manifest.model_copy(update={"dataset": named})
    contents = pack(manifest, trained.network)
    title = describe(plan, manifest.iterations)
    sheet = blobs.put(
        artifacts.blob_key(job, "contact_sheet"),
        draw_contact_sheet(trained.history, title=title),
    )

    put = models.put(blobs, contents)

    def publish(session: Session, job: Job) -> None:
        files = models.store(session, blobs, contents, put=put)
        models.add_trained(session, job=job, manifest=manifest.to_dict(), files=files)
        artifacts.publish(session, job, kind="contact_sheet", media_type="image/png", file=sheet)
        measurements.note(session, job)

    return publish


def describe(plan: RestorerPlan, iterations: int) -> str:
    """A line that names a training."""
    return (
        f"{plan.network.kind} for {plan.task.kind}, loss {plan.loss.kind}: "
        f"weights of iteration {iterations}"
    )


def _gather(
    installation: Installation, spec: RestorationTraining, plan: RestorerPlan
) -> _Ingredients:
    blobs = installation.blobs
    with installation.database.read() as session:
        row = session.get_one(Dataset, spec.dataset_id)
        pictures = datasets.pictures(session, blobs, row.id)
        if spec.validation_dataset_id is None:
            pictures, validation = split(pictures, spec.validation_share)
        else:
            validation = datasets.pictures(session, blobs, spec.validation_dataset_id)
        used = {
            loss_id: losses.file(session, loss_id, "safetensors")
            for loss_id in sorted(loss_ids(plan.loss))
        }
        start = (
            None
            if spec.start_from is None
            else (spec.start_from, models.file(session, spec.start_from, "safetensors"))
        )
    return _Ingredients(
        pictures=pictures,
        validation=validation,
        dataset={"digest": row.digest, "images": row.images},
        losses={
            loss_id: MDFLoss(*read_artefact(losses.read(blobs, loss_id, file)))
            for loss_id, file in used.items()
        },
        initial=None if start is None else read_restorer(models.read(blobs, *start))[1],
    )
