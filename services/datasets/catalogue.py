"""The catalogue of data sets: rows for sets and pictures, one blob for the same pixels.

A picture's file may belong to several data sets. It is removed only while nothing is being
imported: an import that has stored its pictures, and not yet its rows, keeps them so.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.access import Caller
from services.blobs import Blobs
from services.database import Database, hold
from services.database.schema import Dataset, DatasetImage, DatasetPart, Job
from services.datasets.picture import Picture
from services.errors import BadInputError, NotFoundError, Problem
from services.images.catalogue import pixels
from services.jobs.lifecycle import TERMINAL
from services.jobs.uses import check_unused
from services.listing import Page, in_order, newest_first

# Held by those who remove pictures' files, and by imports before they store any.
_FILES = "files of data sets"
_BATCH = 200


class State(StrEnum):
    """Where a data set stands."""

    UPLOADING = "uploading"
    IMPORTING = "importing"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Described:
    """A data set, and what its job says of it."""

    dataset: Dataset
    state: State
    error: str | None  # why it failed


def get(session: Session, dataset_id: str, caller: Caller) -> Dataset:
    """The data set, if the caller may see it."""
    query = select(Dataset).where(Dataset.id == dataset_id, caller.sees(Dataset.owner))
    dataset = session.scalar(query, execution_options={"populate_existing": True})
    if dataset is None:
        raise NotFoundError(f"no data set {dataset_id}")
    return dataset


def referenced(session: Session, dataset_id: str, caller: Caller, pointer: str) -> Dataset:
    """The data set that a request's body names at `pointer`, ready for use.

    Raises: BadInputError if there is none, or it is not ready.
    """
    try:
        dataset = get(session, dataset_id, caller)
    except NotFoundError as error:
        problem = Problem(pointer, "no such data set")
        raise BadInputError(f"there is no data set {dataset_id}", problems=(problem,)) from error
    if dataset.ready is None:
        (described,) = describe(session, [dataset])
        raise BadInputError(
            f"data set {dataset_id} is {described.state}, not ready: its pictures are not there",
            problems=(Problem(pointer, f"is {described.state}"),),
        )
    return dataset


def list_datasets(
    session: Session, caller: Caller, *, limit: int = 50, cursor: str | None = None
) -> Page[Dataset]:
    """The data sets that the caller may see, newest first."""
    query = select(Dataset).where(caller.sees(Dataset.owner))
    return newest_first(session, query, Dataset.id, limit=limit, cursor=cursor)


def describe(session: Session, datasets: Sequence[Dataset]) -> list[Described]:
    """What has become of each, by its row and its job's."""
    wanted = {dataset.job_id for dataset in datasets if dataset.job_id is not None}
    jobs = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(wanted)))}
    return [_describe(dataset, jobs.get(dataset.job_id or "")) for dataset in datasets]


def images(
    session: Session, dataset_id: str, *, limit: int = 50, cursor: str | None = None
) -> Page[DatasetImage]:
    """The pictures of a data set, in the order of their names."""
    query = select(DatasetImage).where(DatasetImage.dataset_id == dataset_id)
    return in_order(session, query, DatasetImage.position, limit=limit, cursor=cursor)


def image(session: Session, dataset_id: str, position: int) -> DatasetImage:
    """The picture at `position`, from 0."""
    found = session.get(DatasetImage, (dataset_id, position))
    if found is None:
        raise NotFoundError(f"data set {dataset_id} has no image {position}")
    return found


def pictures(session: Session, blobs: Blobs, dataset_id: str) -> list[Picture]:
    """The pictures of a data set, to train on; their pixels stay where they are."""
    rows = session.scalars(
        select(DatasetImage)
        .where(DatasetImage.dataset_id == dataset_id)
        .order_by(DatasetImage.position)
    )
    return [
        Picture(row.name, row.digest, row.width, row.height, _reader(blobs, row.blob))
        for row in rows
    ]


def delete(database: Database, blobs: Blobs, dataset_id: str, caller: Caller) -> None:
    """Forget a data set; the files that no other one has go with it.

    Raises: ConflictError while a job that is not finished uses it, its own import too.
    """
    with database.write() as session:
        hold(session, dataset_id)
        dataset = get(session, dataset_id, caller)
        check_unused(session, dataset_id, "data set")
        digests = list(
            session.scalars(
                select(DatasetImage.digest).where(DatasetImage.dataset_id == dataset_id)
            )
        )
        session.delete(dataset)
    # After the commit: no row may be left without its blob.
    blobs.delete(sheet_key(dataset_id))
    blobs.delete_all(blobs.keys(upload_folder(dataset_id)))
    free(database, blobs, digests)


def free(database: Database, blobs: Blobs, digests: Collection[str]) -> None:
    """Remove the files of those pictures that no data set has; none while one is imported."""
    wanted = list(digests)
    for start in range(0, len(wanted), _BATCH):
        some = wanted[start : start + _BATCH]
        with database.write() as session:
            hold(session, _FILES)
            if _importing(session):
                return
            query = select(DatasetImage.digest).where(DatasetImage.digest.in_(some))
            unused = set(some) - set(session.scalars(query))
            blobs.delete_all([image_key(digest) for digest in unused])


def keep_files(database: Database) -> None:
    """To be called by an import before it looks for or stores a file.

    It is running, and those who remove files see that; this waits for the ones that had not.
    """
    with database.write() as session:
        hold(session, _FILES)


def sweep(database: Database, blobs: Blobs) -> None:
    """Remove what crashes, failed imports and finished uploads have left."""
    # Listed before the rows are read: what is here and needed has its row by then.
    uploads = blobs.keys("uploads")
    sheets = blobs.keys("sheets")
    files = blobs.keys("datasets")
    with database.read() as session:
        unready = set(session.scalars(select(Dataset.id).where(Dataset.ready.is_(None))))
        known = set(session.scalars(select(Dataset.id)))
        kept = set(session.scalars(select(DatasetImage.digest).distinct())) if files else set()
    blobs.delete_all([key for key in uploads if key.split("/")[1] not in unready])
    blobs.delete_all([key for key in sheets if _stem(key) not in known])
    free(database, blobs, [digest for key in files if (digest := _stem(key)) not in kept])


def image_key(digest: str) -> str:
    """Where the picture with those pixels lies."""
    return f"datasets/{digest}.png"


def sheet_key(dataset_id: str) -> str:
    """Where the thumbnails of a data set lie."""
    return f"sheets/{dataset_id}.png"


def upload_folder(dataset_id: str) -> str:
    """Where the parts of an archive lie that is being uploaded."""
    return f"uploads/{dataset_id}"


def parts(session: Session, dataset_id: str) -> list[DatasetPart]:
    """What has been uploaded, in order and without gaps."""
    query = select(DatasetPart).where(DatasetPart.dataset_id == dataset_id)
    return list(session.scalars(query.order_by(DatasetPart.offset)))


def _describe(dataset: Dataset, job: Job | None) -> Described:
    if dataset.ready is not None:
        return Described(dataset, State.READY, None)
    if dataset.size is not None and dataset.received < dataset.size:
        return Described(dataset, State.UPLOADING, None)
    if job is None:
        return Described(dataset, State.FAILED, "its import was deleted before it was done")
    if job.state not in TERMINAL:
        return Described(dataset, State.IMPORTING, None)
    if job.error is None:
        return Described(dataset, State.FAILED, f"its import was {job.state}")
    return Described(dataset, State.FAILED, str(job.error["message"]))


def _importing(session: Session) -> bool:
    query = select(Job.id).where(Job.type == "dataset_import", Job.state.not_in(TERMINAL))
    return session.scalar(query.limit(1)) is not None


def _reader(blobs: Blobs, key: str) -> Callable[[], NDArray[np.uint8]]:
    return lambda: pixels(blobs.get(key))


def _stem(key: str) -> str:
    return key.rpartition("/")[2].partition(".")[0]
