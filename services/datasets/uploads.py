"""New data sets, and the archives that arrive for them in parts."""

import secrets

from sqlalchemy.orm import Session

from services import keys, quotas
from services.access import Caller
from services.blobs import Blobs
from services.database import hold
from services.database.schema import Dataset, DatasetPart, Job, now
from services.datasets import catalogue
from services.datasets.folders import check_location
from services.datasets.source import AnySource, Folder, OnBadFile, Upload
from services.datasets.spec import DatasetImport
from services.errors import ConflictError, Problem, ServiceError, TooLargeError
from services.ids import new_id
from services.installation import Installation
from services.jobs.submission import submit

# What is kept at a time: a connection that breaks loses at most so much, in bytes.
PART_BYTES = 8 << 20


def create(
    session: Session,
    installation: Installation,
    source: AnySource,
    *,
    name: str,
    on_bad_file: OnBadFile,
    caller: Caller,
) -> tuple[Dataset, Job | None]:
    """A new data set, and the job that imports it, unless its archive is still to come.

    Raises: TooLargeError, DiskFullError or QuotaExceededError for an archive that the server will
    not hold; BadInputError for a folder that it may not read, and DiskFullError where there is no
    room for its pictures.
    """
    settings = installation.settings
    match source:
        case Upload():
            if source.size > settings.max_dataset_bytes:
                raise TooLargeError(
                    f"the archive has {source.size} bytes; at most {settings.max_dataset_bytes} "
                    "are accepted (MDF_MAX_DATASET_BYTES): make several data sets of it",
                    problems=(Problem("/source/size", "is too large"),),
                )
            installation.blobs.check_free(source.size)
            quotas.check_storage(session, caller, source.size)
            described: AnySource = source
        case Folder():
            location = check_location(source.location, settings.dataset_root_list)
            described = Folder(location=location)
    dataset = Dataset(
        id=new_id("ds"),
        owner=caller.owner,
        name=name,
        source=described.model_dump(),
        on_bad_file=on_bad_file,
        size=source.size if isinstance(source, Upload) else None,
        received=0,
        images=0,
        pixels=0,
        bad_files=[],
        bad_file_count=0,
        created=now(),
    )
    session.add(dataset)
    session.flush()
    if isinstance(source, Upload):
        return dataset, None
    return dataset, _import(session, installation.blobs, dataset, caller)


def upload(session: Session, dataset_id: str, caller: Caller) -> Dataset:
    """The data set whose archive is uploaded, or has been."""
    dataset = catalogue.get(session, dataset_id, caller)
    if dataset.size is None:
        raise ConflictError(f"data set {dataset_id} is imported from a folder: nothing is uploaded")
    return dataset


def check_part(dataset: Dataset, offset: int, length: int) -> None:
    """Refuse a part that does not begin where the last one ended, or that ends too late."""
    size = dataset.size or 0
    if offset != dataset.received:
        raise ConflictError(
            f"{dataset.received} bytes of data set {dataset.id} are here, of {size}: the next part "
            f"must begin with `Upload-Offset: {dataset.received}`, not {offset}"
        )
    if offset + length > size:
        raise TooLargeError(
            f"the part ends at byte {offset + length}, but the archive was announced with {size}: "
            "send the rest of it and no more, or make a new data set"
        )


def append(
    installation: Installation, dataset_id: str, offset: int, content: bytes, caller: Caller
) -> tuple[Dataset, Job | None]:
    """Keep the archive's bytes from `offset` on; the job that imports it once all are there.

    Nothing replaces what is kept: of two that send the same part one is refused.

    Raises: ConflictError naming the right offset; TooLargeError for more bytes than announced;
    QuotaExceededError for more than the owner may store; DiskFullError if there is no room;
    UnauthenticatedError once the caller's key is revoked.
    """
    blobs = installation.blobs

    def check(session: Session) -> Dataset:
        keys.check_let_in(session, caller)  # an archive may be hours under way
        dataset = upload(session, dataset_id, caller)
        check_part(dataset, offset, len(content))
        if content:
            quotas.check_storage(session, caller.acting_for(dataset.owner), len(content))
        return dataset

    with installation.database.read() as session:
        check(session)
    blob = f"{catalogue.upload_folder(dataset_id)}/{offset:015}-{secrets.token_hex(4)}"
    if content:
        blobs.put(blob, content)
    try:
        with installation.database.write() as session:
            hold(session, dataset_id)
            dataset = check(session)
            if content:
                session.add(
                    DatasetPart(dataset_id=dataset_id, offset=offset, size=len(content), blob=blob)
                )
                dataset.received += len(content)
                session.flush()
            # A part of no bytes at the end asks for an import that was deleted.
            whole = dataset.received == dataset.size and dataset.ready is None
            begins = whole and not dataset.job_id
            return dataset, _import(session, blobs, dataset, caller) if begins else None
    except ServiceError:
        blobs.delete(blob)
        raise


def _import(session: Session, blobs: Blobs, dataset: Dataset, caller: Caller) -> Job:
    blobs.check_free()
    job = submit(
        session,
        DatasetImport(dataset_id=dataset.id),
        caller=caller.acting_for(dataset.owner),
        name=dataset.name,
    )
    dataset.job_id = job.id
    session.flush()
    return job
