"""The catalogue of losses, trained and imported."""

from services.database.schema import Loss, LossFile
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
of_jobs = _losses.of_jobs
list_losses = _losses.page
rename = _losses.rename
files = _losses.files
file = _losses.file
delete = _losses.delete
free = _losses.free


def smallest_side(loss: Loss) -> int:
    """Smallest side of the images that the loss compares, px."""
    layers: int = loss.manifest["layers"]
    return 2 * layers + 1 if loss.manifest["padding"] == "valid" else 1
