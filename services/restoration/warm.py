"""Restoring one small image at once, in a process that keeps the models it used last.

`restore` imports torch: it is for `services.workbench`.
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from services.blobs import Blobs, StoredFile
from services.errors import FileMissingError, NotFoundError
from services.restoration.spec import PictureFormat

if TYPE_CHECKING:
    from models.restorers import Restorer
    from services.restoration.picture import RestoredPicture

# What is restored at once: about ten seconds on two CPU cores. In multiply-adds, of which a
# network does about one for each of its weights and each pixel of the image.
MAX_OPERATIONS = 5e11

_KEPT_MODELS = 2
_WEIGHT_BYTES = 4


def is_small(model: StoredFile, width: int, height: int) -> bool:
    """Whether an image of that size, px, is restored at once; `model` is a safetensors file."""
    return model.size / _WEIGHT_BYTES * width * height <= MAX_OPERATIONS


def restore(
    blobs: str | Path,
    model: StoredFile,
    content: bytes,
    file_format: PictureFormat,
    quality: int | None,
) -> "RestoredPicture":
    """Restore `content`, an image of the catalogue, with the model that lies in `blobs`."""
    from services.restoration.picture import restore_picture

    restorer = _restorer(blobs, model)
    return restore_picture(restorer, content, format=file_format, quality=quality, decoded=True)


@lru_cache(_KEPT_MODELS)
def _restorer(blobs: str | Path, model: StoredFile) -> "Restorer":
    from services.restorers.artefact import read_restorer

    try:
        content = Blobs(blobs).read(model.blob, sha256=model.sha256, of="the model")
    except FileMissingError:
        raise NotFoundError("the model's file is gone: it was deleted meanwhile") from None
    return read_restorer(content)[1]
