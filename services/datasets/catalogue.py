"""The catalogue of data sets: rows for sets and pictures, one blob for the same pixels.

A picture's file may belong to several data sets. It goes with the last of them, unless an import
that has not written its rows yet has reserved it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_, or_, select, update
from sqlalchemy import delete as delete_rows
from sqlalchemy.orm import Session

from services.access import Caller
from services.blobs import Blobs, StoredFile
from services.database import Database, hold, let_stand_still
from services.database.schema import (
    Dataset,
    DatasetImage,
    DatasetPart,
    DatasetReservation,
    Job,
)
from services.datasets.picture import Picture
from services.errors import BadInputError, NotFoundError, Problem
from services.images.catalogue import pixels
from services.jobs.lifecycle import TERMINAL
from services.jobs.uses import check_unused
from services.listing import Page, in_order, newest_first

# Held by those who remove pictures' files, and by imports when they reserve some.
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


def read(blobs: Blobs, row: DatasetImage) -> bytes:
    """The PNG of a picture; StorageError that names it if its file is missing or damaged."""
    of = f"image {row.position} of data set {row.dataset_id}"
    return blobs.read(row.blob, sha256=row.sha256, of=of)


def pictures(session: Session, blobs: Blobs, dataset_id: str) -> list[Picture]:
    """The pictures of a data set, to train on; their pixels stay where they are."""
    rows = session.scalars(
        select(DatasetImage)
        .where(DatasetImage.dataset_id == dataset_id)
        .order_by(DatasetImage.position)
    )
    return [
        Picture(row.name, row.digest, row.width, row.height, _reader(blobs, row)) for row in rows
    ]


def delete(database: Database, blobs: Blobs, dataset_id: str, caller: Caller) -> int:
    """Forget a data set; the files that no other one has go with it.

    Returns: how many bytes that has freed, as far as the caller may know: of those who have the
    same pictures, only an admin learns.
    Raises: ConflictError while a job that is not finished uses it, its own import too.
    """
    with database.write() as session:
        hold(session, dataset_id)
        dataset = get(session, dataset_id, caller)
        check_unused(session, dataset_id, "data set", caller)
        mine = DatasetImage.dataset_id == dataset_id
        pictures = select(DatasetImage.digest, DatasetImage.size).where(mine)
        reserved = DatasetReservation.dataset_id == dataset_id
        # What a failed import had stored.
        left = session.scalars(select(DatasetReservation.digest).where(reserved)).all()
        sizes: dict[str, int] = {row.digest: row.size for row in session.execute(pictures)}
        session.delete(dataset)
        session.flush()
        kept = _kept(session, {*sizes, *left}, caller)
    # After the commit: no row may be left without its blob.
    sizes |= {digest: blobs.size(image_key(digest)) or 0 for digest in left}
    sheet = blobs.size(sheet_key(dataset_id)) or 0
    blobs.delete(sheet_key(dataset_id))
    free(database, blobs, sizes)
    freed = sum(size for digest, size in sizes.items() if digest not in kept)
    return sheet + blobs.delete_below(upload_folder(dataset_id)) + freed


def free(database: Database, blobs: Blobs, digests: Collection[str]) -> set[str]:
    """Remove the files of those pictures that no data set has or reserves; returns which."""
    wanted, freed = list(digests), set[str]()
    for start in range(0, len(wanted), _BATCH):
        some = wanted[start : start + _BATCH]
        with database.write() as session:
            let_stand_still(session)
            hold(session, _FILES)
            unused = set(some)
            for column in (DatasetImage.digest, DatasetReservation.digest):
                unused -= set(session.scalars(select(column).where(column.in_(some))))
            blobs.delete_all([image_key(digest) for digest in unused])
        freed |= unused
    return freed


def reserve(database: Database, dataset_id: str, digests: Collection[str]) -> None:
    """Keep others from removing the files of those pictures until the data set is ready or gone.

    To be called by an import before it looks for or stores them.
    """
    wanted = list(digests)
    mine = DatasetReservation.dataset_id == dataset_id
    for start in range(0, len(wanted), _BATCH):
        some = wanted[start : start + _BATCH]
        with database.write() as session:
            hold(session, _FILES)
            query = select(DatasetReservation.digest).where(mine)
            there = set(session.scalars(query.where(DatasetReservation.digest.in_(some))))
            session.add_all(
                DatasetReservation(dataset_id=dataset_id, digest=digest)
                for digest in sorted(set(some) - there)
            )


def replace_file(database: Database, digest: str, stored: StoredFile) -> None:
    """Tell all data sets that have the picture of its new file, perhaps by another encoder."""
    with database.write() as session:
        hold(session, _FILES)
        same = update(DatasetImage).where(DatasetImage.digest == digest)
        session.execute(same.values(size=stored.size, sha256=stored.sha256))


def release(session: Session, dataset_id: str) -> None:
    """Give up what is reserved: the data set's rows name its files now."""
    reserved = DatasetReservation.dataset_id == dataset_id
    session.execute(delete_rows(DatasetReservation).where(reserved))


def release_ended(database: Database, *, before: datetime) -> None:
    """Give up what imports have reserved that ended, by then, without a data set.

    A retry looks anew.
    """
    importing = select(Job.id).where(or_(Job.state.not_in(TERMINAL), Job.finished >= before))
    # Of one whose job was deleted, nobody knows when it ended.
    may_be_new = and_(Dataset.job_id.is_(None), Dataset.created >= before)
    unfinished = select(Dataset.id).where(or_(Dataset.job_id.in_(importing), may_be_new))
    with database.write() as session:
        hold(session, _FILES)
        ended = DatasetReservation.dataset_id.not_in(unfinished)
        session.execute(delete_rows(DatasetReservation).where(ended))


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


def _kept(session: Session, digests: Collection[str], caller: Caller) -> set[str]:
    """Those of the pictures that a data set has or reserves which the caller may see."""
    wanted, kept = list(digests), set[str]()
    seen = select(Dataset.id).where(caller.sees(Dataset.owner))
    for start in range(0, len(wanted), _BATCH):
        some = wanted[start : start + _BATCH]
        for table in (DatasetImage, DatasetReservation):
            mine = select(table.digest).where(table.digest.in_(some), table.dataset_id.in_(seen))
            kept |= set(session.scalars(mine))
    return kept


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


def _reader(blobs: Blobs, row: DatasetImage) -> Callable[[], NDArray[np.uint8]]:
    return lambda: pixels(read(blobs, row))
