"""Files that nothing refers to: left by crashes, and removed without harm to what is under way.

A file is stored before its row is written. So only those that are older than an hour are taken,
and each is looked at once more where somebody might just be referring to it. With a database that
is empty, or not the one of these files, all of them look like orphans: so many are not removed.

But a kill in a big deletion leaves as many. So each sweep leaves a mark, the same in the database
and among the files: where both have it, this is the database that knew the files as they were at
that sweep, and what it no longer knows of them has been deleted.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import groupby

from services.blobs import BlobDamagedError, BlobMissingError, Blobs, Entry
from services.database import Database, hold
from services.database.schema import Tally, now
from services.datasets import catalogue as datasets
from services.errors import ConflictError, DiskFullError
from services.images import catalogue as images
from services.installation import Installation
from services.losses import catalogue as losses
from services.restorers import catalogue as models
from services.retention.references import FOLDERS, References

AGE = timedelta(hours=1)  # of a file that nobody is still writing a row for
_FEW = 20  # files that may go, whatever share of all they are
_MARK = "sweeps/last"  # of the files
_TALLY = {"name": "swept", "labels": ""}  # of the database: when, in seconds since 1970
_log = logging.getLogger(__name__)


def find(installation: Installation) -> list[Entry]:
    """Files that nothing refers to, by key."""
    # Listed before the rows are read: what is old and needed has its row by then.
    entries = installation.blobs.entries("")
    references = _references(installation.database)
    return [entry for entry in _old(entries) if not references.needs(entry.key)]


def sweep(installation: Installation) -> list[Entry]:
    """As `remove`; where that refuses, the log says so and nothing is removed."""
    try:
        return remove(installation)
    except ConflictError as error:
        _log.error("%s", error.message)
        return []


def remove(installation: Installation, *, however_many: bool = False) -> list[Entry]:
    """Remove the files that nothing refers to, and drafts; returns those that are gone.

    Raises: ConflictError if they are so many that this cannot be the database of these files.
    """
    if not however_many:
        _check_database(installation)
    installation.blobs.sweep_drafts(AGE)
    # Not before their files are old: what was reserved goes in the same sweep, or it would count
    # as unknown to the database in the next.
    datasets.release_ended(installation.database, before=now() - AGE)
    swept: list[Entry] = []
    for folder, entries in groupby(find(installation), key=lambda entry: _folder(entry.key)):
        swept += _remove(installation.database, installation.blobs, folder, list(entries))
    if swept:
        size = sum(entry.size for entry in swept) / 1e6
        _log.info("removed %d files that nothing refers to, %.1f MB", len(swept), size)
    with suppress(DiskFullError):
        _mark(installation)
    return swept


def _check_database(installation: Installation) -> None:
    """Refuse to sweep where more than half of all files have never been known to the database."""
    known_until = _known_until(installation)
    entries = installation.blobs.entries("")
    references = _references(installation.database)
    ours = sum(_folder(entry.key) in FOLDERS for entry in entries)
    unknown = sum(
        entry.modified >= known_until and not references.accounts_for(entry.key)
        for entry in _old(entries)
    )
    if unknown > max(_FEW, ours / 2):
        raise ConflictError(
            f"nothing is swept: {unknown} of {ours} files would go. Is this the database of these "
            "files? If it is, remove them by `mdf storage --sweep --force`"
        )


def _known_until(installation: Installation) -> datetime:
    """Before which all files had their rows at the last sweep; the year 1 if it was of others."""
    with installation.database.read() as session:
        tally = session.get(Tally, _TALLY)
    with suppress(BlobMissingError, BlobDamagedError):
        if tally is not None and installation.blobs.get(_MARK) == _written(tally.value):
            return datetime.fromtimestamp(tally.value, UTC) - AGE
    return datetime.min.replace(tzinfo=UTC)


def _mark(installation: Installation) -> None:
    """Have database and files say that they belong together."""
    moment = now().timestamp()
    with installation.database.write() as session:
        hold(session, _MARK)
        installation.blobs.put(_MARK, _written(moment))
        session.merge(Tally(**_TALLY, value=moment))


def _written(moment: float) -> bytes:
    return repr(moment).encode()


def _references(database: Database) -> References:
    with database.read() as session:
        return References.read(session)


def _old(entries: Iterable[Entry]) -> Iterator[Entry]:
    before = now() - AGE
    return (entry for entry in entries if entry.modified < before)


def _remove(
    database: Database, blobs: Blobs, folder: str, entries: Iterable[Entry]
) -> Iterable[Entry]:
    """Remove files of one folder; returns those that nobody has referred to meanwhile."""
    match folder:
        case "images":
            return [each for each in entries if images.free(database, blobs, _stem(each.key))]
        case "losses":
            return [each for each in entries if losses.free(database, blobs, each.key)]
        case "models":
            return [each for each in entries if models.free(database, blobs, each.key)]
        case "datasets":
            freed = datasets.free(database, blobs, [_stem(each.key) for each in entries])
            return [each for each in entries if _stem(each.key) in freed]
        case _:  # no later attempt or upload gives a file such a name again
            blobs.delete_all([each.key for each in entries])
            return entries


def _folder(key: str) -> str:
    return key.partition("/")[0]


def _stem(key: str) -> str:
    return key.rpartition("/")[2].partition(".")[0]
