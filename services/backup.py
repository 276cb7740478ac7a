"""Backups of an embedded installation: one file that holds the database and all it refers to.

Made while the service runs. The database is copied in one state first, then the files that this
state names. One that has gone meanwhile was deleted, or replaced as checkpoints are: then a later
state no longer names it. So the database is copied anew, and what is missing is added, until
nothing is.

The archive is an uncompressed tar: files below `blobs/`, then `mdf.sqlite`, and in the end
`manifest.json` with the digest of each. One that was broken off lacks the manifest.
"""

import errno
import fcntl
import io
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, BinaryIO

from pydantic import TypeAdapter
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from services.database import Database, is_database_full
from services.database.migration import versions
from services.database.schema import (
    Artifact,
    BrowserSession,
    DatasetImage,
    Image,
    LossFile,
    ModelFile,
    Worker,
    now,
)
from services.errors import ConflictError, DiskFullError, ServiceError
from services.files import is_disk_full, is_unreadable, sync_folder
from services.jobs import claims, parts
from services.jobs.claims import Claim
from services.retention.references import References
from services.settings import Settings

FORMAT = 1
_DATABASE = "mdf.sqlite"
_BLOBS = "blobs"
_MANIFEST = "manifest.json"
_MEMBER = re.compile(rf"{_BLOBS}(/[\w-][\w.-]*)+|{re.escape(_DATABASE)}|{re.escape(_MANIFEST)}")
_VERSION = re.compile(r"[0-9A-Za-z][\w.+!-]{0,40}", re.ASCII)
_DRAFT = ".mdf-backup-"
_STAGING = ".restore-"
_CHUNK = 1 << 20
_ROUNDS = 100
# Replaced or removed while jobs run: they are taken first.
_FLEETING = ("checkpoints/", "uploads/", "samples/")
_WITH_DIGEST = (Image, Artifact, LossFile, ModelFile, DatasetImage)

# Told how many bytes are done, and of how many.
OnBytes = Callable[[int, int], None]


class BackupError(ServiceError):
    """The backup cannot be made, or is none that can be restored."""


@dataclass(frozen=True)
class Backup:
    """What a backup holds, as its manifest says.

    Attributes:
        created: when its last state of the database was copied, RFC 3339.
        mdf: version of the service that made it.
        database: version of the database's tables.
        digests: SHA-256 of each file, by its name in the archive.
        size: bytes of these files together.
        missing: files that the database names, and that were not there.
        damaged: files that are not what the database says of them, or that could not be read:
            the archive has zeros from there on.
    """

    created: str
    mdf: str
    database: str
    digests: dict[str, str]
    size: int
    missing: list[str]
    damaged: list[str]
    format: int = FORMAT


def back_up(settings: Settings, target: Path, *, on_bytes: OnBytes = lambda *_: None) -> Backup:
    """Write all that the installation keeps into the new file `target`, for its user alone.

    Raises: BackupError for an installation whose database or files lie elsewhere, or for none;
    ConflictError if `target` exists; DiskFullError if there is no room for it.
    """
    _check_embedded(settings)
    source = settings.home_folder / _DATABASE
    if not source.is_file():
        raise BackupError(
            f"there is no installation in {settings.home_folder}: name its folder in MDF_HOME"
        )
    if not target.parent.is_dir():
        raise BackupError(f"there is no folder {target.parent}: make it first")
    _check_absent(target)
    with _room_in(target.parent), _workspace(target.parent, _DRAFT) as folder:
        draft = folder / "archive"
        with _new_file(draft) as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                blobs = settings.home_folder / _BLOBS
                archive = _Archive(tar, folder, blobs, on_bytes)
                backup = archive.fill(source, folder / _DATABASE)
            file.flush()
            os.fsync(file.fileno())
        _check_absent(target)
        draft.rename(target)
        sync_folder(target.parent)
    return backup


def restore(settings: Settings, archive: Path, *, on_bytes: OnBytes = lambda *_: None) -> Backup:
    """Make an installation of a backup, in an MDF_HOME that is empty or not there.

    All of it or, on any fault, nothing. Every file's digest is verified, and the database is
    brought to this version. Jobs that were running go on from their checkpoints.

    Raises: BackupError for a file that is no whole and undamaged backup, or one of a newer
    version; ConflictError if something is in MDF_HOME; DiskFullError if there is no room.
    """
    _check_embedded(settings)
    home = settings.home_folder
    is_new = not home.exists()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        _check_empty(home)
        with _room_in(home), _workspace(home, _STAGING) as staging:
            with archive.open("rb") as file:
                backup = _unpack(file, staging, on_bytes)
            _make_current(staging / _DATABASE, backup)
            os.sync()
            _move_in(staging, home)
    except BaseException:
        if is_new:
            with suppress(OSError):
                home.rmdir()
        raise
    sync_folder(home)
    return backup


def clear_home(home: Path) -> None:
    """Remove what a restore that was killed has left beside the installation that it made."""
    _clear(home, _STAGING)


class _Archive:
    """A backup that is being written, of `blobs` to a file in `folder`."""

    def __init__(self, tar: tarfile.TarFile, folder: Path, blobs: Path, on_bytes: OnBytes) -> None:
        self._tar = tar
        self._folder = folder
        self._blobs = blobs
        self._on_bytes = on_bytes
        self._digests: dict[str, str] = {}
        self._unreadable: set[str] = set()
        self._done = 0
        self._total = 0

    def fill(self, source: Path, snapshot: Path) -> Backup:
        """Write everything; `snapshot` is where the copies of the database `source` go."""
        absent: set[str] = set()
        for _ in range(_ROUNDS):
            created = now()
            _copy_database(source, snapshot)
            references = _references(snapshot)
            lacking = self._add_all(references.named)
            # Named before and after it was looked for: nobody is going to bring it back.
            if lacking <= absent:
                break
            absent = lacking
        else:
            raise BackupError(
                "the installation changes faster than it is copied: name a faster disk, or back "
                "up when less is deleted"
            )
        # What rows will name later, or never: without it a job does some of its work again.
        unnamed = {*references.reserved, *filter(references.needs, self._parts())}
        self._add_all(unnamed)
        with snapshot.open("rb") as file:
            self._add(file, _DATABASE, _Reader(file, self._count))
        keys = references.named | unnamed
        kept = {_DATABASE, *(f"{_BLOBS}/{key}" for key in keys)}
        digests = {name: digest for name, digest in self._digests.items() if name in kept}
        backup = Backup(
            created=created.isoformat(),
            mdf=version("mdf"),
            database=versions()[0],
            digests=digests,
            size=self._done,
            missing=sorted(lacking),
            damaged=sorted(_damaged(snapshot, digests) | self._unreadable & keys),
        )
        content = json.dumps(asdict(backup)).encode()
        self._tar.addfile(_member(_MANIFEST, len(content)), io.BytesIO(content))
        return backup

    def _add_all(self, keys: Iterable[str]) -> set[str]:
        """Add the files that are not there yet; returns the keys of those that cannot be had."""
        wanted = [key for key in keys if f"{_BLOBS}/{key}" not in self._digests]
        wanted.sort(key=lambda key: (not key.startswith(_FLEETING), key))
        size = sum(_size(self._blobs / key) for key in wanted)
        _check_room(self._folder, size)
        self._total = self._done + size
        return {key for key in wanted if not self._add_blob(key)}

    def _add_blob(self, key: str) -> bool:
        """Add a file if it is there; one that the disk cannot read keeps nothing else back."""
        try:
            file = (self._blobs / key).open("rb")
        except OSError as error:
            if _cannot_be_had(error):
                return False
            raise
        with file:
            reader = _Salvager(file, self._count)
            self._add(file, f"{_BLOBS}/{key}", reader)
        if reader.is_cut:
            self._unreadable.add(key)
        return True

    def _add(self, file: BinaryIO, name: str, reader: "_Reader") -> None:
        self._tar.addfile(_member(name, os.fstat(file.fileno()).st_size), reader)
        self._digests[name] = reader.digest.hexdigest()

    def _count(self, count: int) -> None:
        self._done += count
        self._on_bytes(self._done, max(self._done, self._total))

    def _parts(self) -> list[str]:
        """What restorations have done so far; drafts are none."""
        found = (self._blobs / parts.FOLDER).glob("*/[!.]*")
        return [str(path.relative_to(self._blobs)) for path in found]


class _Reader(io.RawIOBase):
    """A file that takes its digest while it is read."""

    def __init__(self, file: IO[bytes], on_read: Callable[[int], None]) -> None:
        self.digest = sha256()
        self._file = file
        self._on_read = on_read

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        content = self._next(size)
        self.digest.update(content)
        self._on_read(len(content))
        return content

    def _next(self, size: int) -> bytes:
        return self._file.read(size)


class _Salvager(_Reader):
    """A file that is read as zeros from where its disk cannot read it; then `is_cut`."""

    is_cut = False

    def _next(self, size: int) -> bytes:
        try:
            return bytes(size) if self.is_cut else super()._next(size)
        except OSError as error:
            if not is_unreadable(error):
                raise
            self.is_cut = True
            return bytes(size)


def _unpack(file: IO[bytes], staging: Path, on_bytes: OnBytes) -> Backup:
    """Write the archive's files below `staging`, if it is whole and nothing in it has changed."""
    total = os.fstat(file.fileno()).st_size
    _check_room(staging, total)
    digests: dict[str, str] = {}
    manifest: Any = None
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                # A sparse one may grow to any size out of nothing.
                is_plain = member.isreg() and not member.issparse()
                content = tar.extractfile(member) if is_plain else None
                if content is None or not _MEMBER.fullmatch(member.name):
                    raise BackupError(f"{file.name} holds {member.name!r}: it is no backup of MDF")
                if member.name == _MANIFEST:
                    manifest = json.load(content)
                    continue
                path = staging / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                reader = _Reader(content, lambda _: on_bytes(min(file.tell(), total), total))
                with _new_file(path) as written:
                    shutil.copyfileobj(reader, written, _CHUNK)
                digests[member.name] = reader.digest.hexdigest()
    except (tarfile.TarError, EOFError, ValueError, RecursionError) as error:
        raise BackupError(f"{file.name} is no backup of MDF, or is damaged: {error}") from error
    if manifest is None:
        raise BackupError(f"{file.name} ends too soon: it was not written or copied to its end")
    backup = _read_manifest(manifest, file.name)
    for name, digest in backup.digests.items():
        if digests.get(name) != digest:
            raise BackupError(f"{file.name} is damaged: {name} is not what was put into it")
    for name in digests.keys() - backup.digests.keys():  # gone by the last state of the database
        (staging / name).unlink()
    return backup


def _read_manifest(manifest: Any, archive: str) -> Backup:
    known = versions()
    try:
        backup = TypeAdapter(Backup).validate_python(manifest)
        is_readable = backup.format == FORMAT and backup.database in known
        datetime.fromisoformat(backup.created)  # it is shown, and gives no orders to the screen
    except ValueError:
        is_readable = False
    if not is_readable:
        said = manifest if isinstance(manifest, dict) else {}
        mdf, form, tables = (_shown(said.get(name, "")) for name in ("mdf", "format", "database"))
        raise BackupError(
            f"{archive} was made by MDF {mdf} (format {form}, tables {tables}), which this "
            f"version, {version('mdf')} (format {FORMAT}, tables {known[0]}), does not read: "
            "restore it with that one, or a newer one"
        )
    if _DATABASE not in backup.digests:
        raise BackupError(f"{archive} is damaged: it holds no database")
    return backup


def _shown(said: Any) -> str:
    """What a manifest says of a version, if that is one: it gives no orders to the screen."""
    return str(said) if _VERSION.fullmatch(str(said)) else "?"


def _make_current(path: Path, backup: Backup) -> None:
    """Bring the database to this version, and its jobs to where no process has them."""
    if fault := _fault_of(path):
        raise BackupError(f"the backup's database is damaged: {fault}")
    with _opened(path) as database:
        database.migrate()
        with database.write() as session:
            named = References.read(session).named
            there = {name.removeprefix(f"{_BLOBS}/") for name in backup.digests}
            if lacking := sorted(named - there - set(backup.missing)):
                raise BackupError(f"the backup lacks {lacking[0]}, which its database names")
            for row in session.execute(claims.held_jobs()).all():
                # Not lost: their processes go on, or went on, where the backup was made.
                claims.release(session, Claim(row.id, row.token), lost=False, max_attempts=1)
            session.execute(delete(Worker))
            # Nobody knows which of them were ended since.
            session.execute(delete(BrowserSession))


def _move_in(staging: Path, home: Path) -> None:
    """Give the files their places, the database last: with it the installation is there."""
    (staging / _BLOBS).mkdir(exist_ok=True)
    try:
        (staging / _BLOBS).rename(home / _BLOBS)
        os.link(staging / _DATABASE, home / _DATABASE)  # never over one that has come meanwhile
    except BaseException as error:
        # An interrupt may come when only the first is done, or all.
        is_linked = (staging / _DATABASE).stat().st_nlink > 1
        if not is_linked and not (staging / _BLOBS).exists():
            (home / _BLOBS).rename(staging / _BLOBS)
        if isinstance(error, OSError) and error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
            raise _occupied(home) from None
        raise


def _check_embedded(settings: Settings) -> None:
    if settings.database_url is not None and not settings.sqlalchemy_url.startswith("sqlite"):
        raise BackupError(
            "the database is not the embedded one (MDF_DATABASE_URL is set): back it up and "
            "restore it by its own tools, such as pg_dump and pg_restore, and the files after it"
        )
    if settings.database_url is not None:
        raise BackupError(
            "the database does not lie in MDF_HOME (MDF_DATABASE_URL is set): copy it by "
            "`sqlite3 FILE '.backup COPY'`, and the files after it"
        )
    if settings.blob_url is not None:
        raise BackupError(
            f"the files lie in a bucket ({settings.blob_url}): keep its old versions, or copy it "
            "by the cloud's own tools after the database"
        )


def _check_absent(target: Path) -> None:
    if target.exists():
        raise ConflictError(f"{target} exists: name a new file, or remove it first")


def _check_empty(home: Path) -> None:
    """Refuse a folder that holds anything but what a restore that was killed has left."""
    left = _begun(home, _STAGING)
    others = set(home.iterdir()) - set(left) - {home / "lost+found"}
    if others - ({home / _BLOBS} if left else set()):
        raise _occupied(home)
    if held := _clear(home, _STAGING):
        raise ConflictError(
            f"another restore works in {held[0]}: wait for its end, or remove what it has left"
        )
    for path in others:
        shutil.rmtree(path)


def _occupied(home: Path) -> ConflictError:
    return ConflictError(
        f"{home} is not empty: name a folder in MDF_HOME that is empty or not there yet"
    )


@contextmanager
def _workspace(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder for what is not done yet; what killed processes have left of such is cleared away.

    Folders of this kind are entered by their user alone.
    """
    _clear(parent, prefix)
    with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as folder:
        held = _hold(Path(folder))
        try:
            yield Path(folder)
        finally:
            if held is not None:
                os.close(held)


def _clear(parent: Path, prefix: str) -> list[Path]:
    """Remove the workspaces that no process holds; returns the others."""
    others = []
    for folder in _begun(parent, prefix):
        held = _hold(folder)
        if held is None:
            others.append(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)
    return others


def _begun(parent: Path, prefix: str) -> list[Path]:
    return [path for path in parent.iterdir() if path.name.startswith(prefix)]


def _hold(folder: Path) -> int | None:
    """A lock of the folder, until it is closed or this process ends.

    None if another process has it, or if there are no locks of folders, as on NFS: then nobody
    clears away what others have left.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # its process has just removed it
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def _room_in(folder: Path) -> Iterator[None]:
    """Tell of a full disk as such."""
    message = f"the disk of {folder} is full: free some space, or name a folder on another disk"
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError(message) from error
        raise
    except (sqlite3.DatabaseError, SQLAlchemyError) as error:
        if is_database_full(error):
            raise DiskFullError(message) from error
        raise BackupError(f"the database cannot be copied: {error}") from error


def _check_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DiskFullError(
            f"{size / 1e6:.0f} MB are needed in {folder}, and {free / 1e6:.0f} MB are free: free "
            "some space, or name a folder on another disk"
        )


def _copy_database(source: Path, snapshot: Path) -> None:
    snapshot.unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(snapshot)) as copy:
        live.execute("PRAGMA busy_timeout = 10000")
        live.backup(copy)  # in one step: one state of it, and nobody who writes waits
    if fault := _fault_of(snapshot):
        raise BackupError(
            f"the database {source} is damaged ({fault}), and a backup of it could not be "
            "restored: move what is there aside, and make it anew of an earlier backup with "
            "`mdf restore-backup`"
        )


def _fault_of(database: Path) -> str | None:
    """What SQLite finds wrong with the file, if anything."""
    with closing(sqlite3.connect(database)) as connection:
        try:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            return str(error)
    return None if said == "ok" else " ".join(said.split())


def _references(snapshot: Path) -> References:
    with _opened(snapshot) as database:
        newest, *earlier = versions()
        if (found := database.version()) != newest:
            cure = ", or run `mdf migrate` first" if found in {None, *earlier} else ""
            raise BackupError(
                f"the database has version {found}, and this program knows {newest}: back up with "
                f"the version of MDF that runs{cure}"
            )
        with database.read() as session:
            return References.read(session)


def _damaged(snapshot: Path, digests: dict[str, str]) -> set[str]:
    """Keys of files whose digests are not those of their rows."""
    damaged = set()
    with _opened(snapshot) as database, database.read() as session:
        for table in _WITH_DIGEST:
            for row in session.execute(select(table.blob, table.sha256)):
                if digests.get(f"{_BLOBS}/{row.blob}", row.sha256) != row.sha256:
                    damaged.add(row.blob)
    return damaged


@contextmanager
def _opened(path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{path}")
    try:
        yield database
    finally:
        database.close()


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o600
    return member


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        if _cannot_be_had(error):
            return 0
        raise


def _cannot_be_had(error: OSError) -> bool:
    return isinstance(error, FileNotFoundError) or is_unreadable(error)


def _new_file(path: Path) -> BinaryIO:
    """A file that its user alone reads."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
