"""A job of type `restoration`: one image or many through a model.

Each restored image is a part of its own, whole or not there: a job that is killed, paused or
retried goes on with the next one. One image is the artifact `restored` as it is, many are in a
zip archive.
"""

import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO

import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from models.restorers import Restorer
from services.blobs import Blobs, StoredFile
from services.database.schema import DatasetImage, Image, Job
from services.datasets import catalogue as datasets
from services.errors import ServiceError
from services.images import catalogue
from services.installation import Installation
from services.jobs import artifacts
from services.jobs.parts import Parts
from services.jobs.run import JobRun, Publish
from services.restoration.picture import restore_picture
from services.restoration.spec import MEDIA_TYPES, SUFFIXES, Restoration
from services.restorers import catalogue as models
from services.restorers.artefact import read_restorer
from services.run import Run, Signal, heed

ARTIFACT = "restored"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # no time of creation in the archive: equal files, equal bytes


@dataclass(frozen=True)
class Source:
    """An image to be restored, and what its restored file is called."""

    read: Callable[[], bytes]
    name: str


def restore_images_job(installation: Installation, job: Job, run: JobRun) -> Publish:
    """Restore the images that the job's spec names, and store the files."""
    spec, blobs = Restoration.model_validate(job.spec), installation.blobs
    with installation.database.read() as session:
        model = models.file(session, spec.model_id, "safetensors")
        sources = _sources(session, blobs, spec)
    _, restorer = read_restorer(models.read(blobs, spec.model_id, model))
    parts = Parts(blobs, job.id, run.log)
    restore_images(parts, spec, sources=sources, restorer=restorer, run=run)
    file, media_type = _result(installation, job, spec, sources, parts=parts, run=run)

    def publish(session: Session, job: Job) -> None:
        artifacts.publish(session, job, kind=ARTIFACT, media_type=media_type, file=file)

    return publish


def restore_images(
    parts: Parts,
    spec: Restoration,
    *,
    sources: Sequence[Source],
    restorer: Restorer,
    run: Run,
) -> None:
    """Make the parts of the job that are not there yet."""
    restorer = restorer.to(_device())
    for position, source in enumerate(sources):
        there = parts.has(position)
        if not there:
            try:
                restored = restore_picture(
                    restorer,
                    source.read(),
                    format=spec.format,
                    quality=spec.quality,
                    on_tile=lambda _done, _total: heed(run.poll()),
                    decoded=True,
                )
            except ServiceError as error:
                raise type(error)(f"{source.name}: {error.message}") from None
            for note in restored.notes:
                run.log(f"{source.name}: {note}")
            parts.put(position, restored.content)
        run.progress(scale=1, scales=1, step=position + 1, steps=len(sources))
        signal = run.poll()
        heed(signal)
        if signal is Signal.CHECKPOINT and not there:
            run.save_checkpoint(b"")  # the parts are all that it needs: this says that it gets on


def _result(
    installation: Installation,
    job: Job,
    spec: Restoration,
    sources: Sequence[Source],
    *,
    parts: Parts,
    run: Run,
) -> tuple[StoredFile, str]:
    """The one file, or the archive of all, with its media type."""
    blobs, key = installation.blobs, artifacts.blob_key(job, ARTIFACT)
    if spec.image_ids is not None and len(spec.image_ids) == 1:
        return blobs.put(key, parts.get(0)), MEDIA_TYPES[spec.format]
    # Where large files belong; a file without a name is gone with its process.
    with tempfile.TemporaryFile(dir=installation.settings.home_folder) as file:
        _archive(parts, [source.name for source in sources], file, run)
        return blobs.put_file(key, file), "application/zip"


def _archive(parts: Parts, names: Sequence[str], file: BinaryIO, run: Run) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for position, name in enumerate(names):
            heed(run.poll())
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), parts.get(position))


def _sources(session: Session, blobs: Blobs, spec: Restoration) -> list[Source]:
    suffix = SUFFIXES[spec.format]
    if spec.dataset_id is not None:
        query = select(DatasetImage).where(DatasetImage.dataset_id == spec.dataset_id)
        pictures = list(session.scalars(query.order_by(DatasetImage.position)))
        names = unique([row.name for row in pictures], suffix)
        return [
            Source(partial(datasets.read, blobs, row), name)
            for row, name in zip(pictures, names, strict=True)
        ]
    wanted = spec.image_ids or ()
    found = {row.id: row for row in session.scalars(select(Image).where(Image.id.in_(wanted)))}
    images = [found[image_id] for image_id in wanted]
    names = unique([row.name or row.id for row in images], suffix)
    return [
        Source(partial(catalogue.read, blobs, row), name)
        for row, name in zip(images, names, strict=True)
    ]


def unique(names: Sequence[str], suffix: str) -> list[str]:
    """The names with that suffix in place of their own, each once: `a.png`, `a-2.png`."""
    taken: set[str] = set()
    made = []
    for name in names:
        path = PurePosixPath(name)
        stem = str(path.with_suffix("")) if path.name else "image"
        made.append(next(each for each in _candidates(stem, suffix) if each not in taken))
        taken.add(made[-1])
    return made


def _candidates(stem: str, suffix: str) -> Iterator[str]:
    yield f"{stem}{suffix}"
    number = 2
    while True:
        yield f"{stem}-{number}{suffix}"
        number += 1


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
