"""The catalogue of losses, trained and imported."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.database.schema import Job, Loss, LossFile
from services.publications import Publications

MEDIA_TYPES = {
    "safetensors": "application/vnd.safetensors",
    "pth": "application/vnd.pytorch",
    "pt2": "application/zip",
}

_losses = Publications(Loss, LossFile, LossFile.loss_id, noun="loss", folder="losses")

put = _losses.put
store = _losses.store
add_trained = _losses.add_trained
add_imported = _losses.add_imported
get = _losses.get
referenced = _losses.referenced
list_losses = _losses.page
rename = _losses.rename
files = _losses.files
file = _losses.file
read = _losses.read
delete = _losses.delete
free = _losses.free


def trainings(session: Session, losses: Sequence[Loss]) -> dict[str, Job]:
    """The jobs that trained these losses, by loss; none for those that were imported."""
    by_job = {loss.job_id: loss.id for loss in losses if loss.job_id is not None}
    jobs = session.scalars(select(Job).where(Job.id.in_(by_job)))
    return {by_job[job.id]: job for job in jobs}


def smallest_side(loss: Loss) -> int:
    """Smallest side of the images that the loss compares, px."""
    layers: int = loss.manifest["layers"]
    return 2 * layers + 1 if loss.manifest["padding"] == "valid" else 1
