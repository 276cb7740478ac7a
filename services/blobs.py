"""Files that belong to database rows: images, checkpoints, samples, losses.

A folder on one machine, S3, GCS or Azure on many, through one library and one code.
"""

import hashlib
import io
import logging
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import obstore
from obstore.exceptions import BaseError as ObjectStoreError
from obstore.exceptions import NotFoundError as ObjectMissing
from obstore.store import LocalStore, ObjectStore, from_url

from services.errors import DiskFullError, FileMissingError, StorageError
from services.files import is_disk_full, is_unreadable, replace_file

_DRAFT = ".tmp-"  # how the name of a file begins that is being written into a folder
_SEAL = re.compile(r"-([0-9a-f]{64})$")  # how a key ends that `put_sealed` has made
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredFile:
    """Where a file lies and what it holds; `sha256` in hexadecimal."""

    blob: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """A blob as the store lists it; `size` in bytes."""

    key: str
    size: int
    modified: datetime


class BlobMissingError(Exception):
    """The store has no blob of that key."""


class BlobDamagedError(Exception):
    """The blob of that key is not what was stored."""


class BlobUnreadableError(BlobDamagedError):
    """The disk cannot read the blob of that key."""


class Blobs:
    """A store of immutable byte strings by key; keys are paths with `/`."""

    def __init__(self, location: str | Path, *, floor_bytes: int = 0) -> None:
        """Open the folder `location`, or the bucket and prefix of a URL.

        A put into a folder is refused with DiskFullError when less than `floor_bytes`
        would stay free.
        """
        self.location = location
        self.folder: Path | None = None
        self._floor = floor_bytes
        self._on_full: Callable[[DiskFullError], None] | None = None
        if isinstance(location, Path):
            location.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder = location
            self._store: ObjectStore = LocalStore(location)
        else:
            self._store = from_url(location)

    def when_full(self, wait: Callable[[DiskFullError], None]) -> None:
        """From now on, call `wait` when a blob finds no room; when it returns, try again."""
        self._on_full = wait

    def put(self, key: str, content: bytes) -> StoredFile:
        """Store `content`; it is durable and whole when this returns, or not there at all."""
        self._put(key, content, len(content))
        return StoredFile(blob=key, size=len(content), sha256=hashlib.sha256(content).hexdigest())

    def put_file(self, key: str, file: BinaryIO) -> StoredFile:
        """Store all that is in an open file, as `put` does, without holding it in memory."""
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # asks for more than it uses
        size = file.seek(0, io.SEEK_END)
        self._put(key, file, size)
        return StoredFile(blob=key, size=size, sha256=digest)

    def put_sealed(self, stem: str, content: bytes) -> str:
        """Store `content` under `stem` and its digest, which is what comes back."""
        key = f"{stem}-{hashlib.sha256(content).hexdigest()}"
        self._put(key, content, len(content))
        return key

    def _put(self, key: str, content: bytes | BinaryIO, size: int) -> None:
        while True:
            try:
                return self._put_once(key, content, size)
            except DiskFullError as error:
                if self._on_full is None:
                    raise
                self._on_full(error)

    def _put_once(self, key: str, content: bytes | BinaryIO, size: int) -> None:
        if not isinstance(content, bytes):
            content.seek(0)
        with _storing(key):
            if self.folder is None:
                obstore.put(self._store, key, content)
            else:
                # Not by the library: it makes neither the file nor its folder durable.
                self.check_free(size)
                draft = _DRAFT + secrets.token_hex(8)
                replace_file(self.folder / key, content, draft=draft)

    def has(self, key: str) -> bool:
        """Whether there is a blob of that key."""
        return self.size(key) is not None

    def size(self, key: str) -> int | None:
        """Bytes of the blob of that key; None if there is none."""
        try:
            return obstore.head(self._store, key)["size"]
        except (ObjectMissing, FileNotFoundError):
            return None

    def get(self, key: str) -> bytes:
        """The whole content.

        Raises: BlobMissingError; BlobUnreadableError if the folder's disk cannot read it. What
        keeps a bucket from answering passes as it is.
        """
        with _reading(key):
            if self.folder is None:
                return bytes(obstore.get(self._store, key).bytes())
            # Not by the library: its errors do not tell a bad disk from a busy process.
            return (self.folder / key).read_bytes()

    def get_sealed(self, key: str) -> bytes:
        """What `put_sealed` stored; BlobDamagedError if it is no longer that.

        A key without a digest, as other versions of the service made them, is taken on trust.
        """
        content = self.get(key)
        seal = _SEAL.search(key)
        if seal is not None and hashlib.sha256(content).hexdigest() != seal[1]:
            raise BlobDamagedError(key)
        return content

    def holds(self, file: StoredFile) -> bool:
        """Whether that file is there, in its size."""
        return self.size(file.blob) == file.size

    def is_whole(self, file: StoredFile) -> bool:
        """Whether that file is there as it was stored; it is read for that."""
        try:
            content = self.get(file.blob)
        except (BlobMissingError, BlobDamagedError):
            return False
        return hashlib.sha256(content).hexdigest() == file.sha256

    def read(self, key: str, *, sha256: str, of: str) -> bytes:
        """The whole content, which has that digest; `of` names the object that it is the file of.

        Raises: FileMissingError, or StorageError if it cannot be read or is not what was stored.
        """
        cure = "upload it again, or take it from a backup"
        try:
            content = self.get(key)
        except BlobMissingError as error:
            raise FileMissingError(f"the file of {of} is missing: {cure}") from error
        except BlobUnreadableError as error:
            _log.error("%s, the file of %s, cannot be read: %s", key, of, error.__cause__)
            raise StorageError(f"the file of {of} cannot be read: {cure}") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            _log.error("%s, the file of %s, is damaged", key, of)
            raise StorageError(f"the file of {of} is damaged: {cure}")
        return content

    def stream(
        self, key: str, *, start: int = 0, length: int, chunk: int = 1 << 20
    ) -> Iterator[bytes]:
        """Bytes `start` to `start + length`, a chunk at a time.

        Raises: as `get`; BlobDamagedError if the blob has lost its end.
        """
        end = start + length
        while start < end:
            step = min(chunk, end - start)
            with _reading(key):
                piece = self._range(key, start, step)
            if len(piece) < step:
                raise BlobDamagedError(key)
            yield piece
            start += step

    def _range(self, key: str, start: int, length: int) -> bytes:
        if self.folder is None:
            try:
                return bytes(obstore.get_range(self._store, key, start=start, length=length))
            except ObjectStoreError:  # which also says that there is nothing from there on
                size = self.size(key)
                if size is None or size > start:
                    raise
                return b""
        with (self.folder / key).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def delete(self, key: str) -> None:
        """Remove the blob; one that is not there is no error."""
        try:
            obstore.delete(self._store, key)
        except (ObjectMissing, FileNotFoundError):
            return

    def delete_all(self, keys: Sequence[str]) -> None:
        """Remove those blobs: many in one request, where the store can."""
        if not keys:
            return
        try:
            obstore.delete(self._store, list(keys))
        except (ObjectMissing, FileNotFoundError):  # another was quicker with some of them
            for key in keys:
                self.delete(key)

    def delete_below(self, prefix: str) -> int:
        """Remove all blobs below `prefix`; returns how many bytes that has freed."""
        found = self.entries(prefix)
        self.delete_all([entry.key for entry in found])
        return sum(entry.size for entry in found)

    def keys(self, prefix: str) -> list[str]:
        """All keys below `prefix`, sorted."""
        return [entry.key for entry in self.entries(prefix)]

    def entries(self, prefix: str) -> list[Entry]:
        """All blobs below `prefix`, sorted by key."""
        found = obstore.list(self._store, prefix).collect()
        entries = [
            Entry(key=entry["path"], size=entry["size"], modified=entry["last_modified"])
            for entry in found
            if not _is_draft(entry["path"])
        ]
        return sorted(entries, key=lambda entry: entry.key)

    def sweep_drafts(self, age: timedelta) -> int:
        """Remove what puts that were killed have left, if older than `age`; returns how many."""
        if self.folder is None:
            return 0
        before = time.time() - age.total_seconds()
        removed = 0
        for draft in self.folder.rglob(f"{_DRAFT}*"):
            with suppress(FileNotFoundError):  # another's sweep was quicker
                if draft.stat().st_mtime < before:
                    draft.unlink()
                    removed += 1
        return removed

    def free_bytes(self) -> int | None:
        """Free disk below a folder; nothing is known of a bucket."""
        return None if self.folder is None else shutil.disk_usage(self.folder).free

    def check_free(self, size: int = 0) -> None:
        """Raise DiskFullError unless `size` bytes more leave the floor free."""
        free = self.free_bytes()
        if free is not None and free - size < self._floor:
            raise DiskFullError(
                f"{free / 1e6:.0f} MB of disk are free and {self._floor / 1e6:.0f} MB must stay "
                "free: delete losses, jobs or images, or set MDF_DISK_FLOOR_BYTES"
            )


def _is_draft(key: str) -> bool:
    return key.rpartition("/")[2].startswith(_DRAFT)


@contextmanager
def _reading(key: str) -> Iterator[None]:
    """Turn what the disk or the bucket says of a blob into errors of ours."""
    try:
        yield
    except (ObjectMissing, FileNotFoundError, IsADirectoryError) as error:
        raise BlobMissingError(key) from error
    except OSError as error:
        if is_unreadable(error):
            raise BlobUnreadableError(key) from error
        raise


@contextmanager
def _storing(key: str) -> Iterator[None]:
    """Turn what the disk or the bucket says into errors of the service."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError(f"cannot store {key}: {error.strerror}; free some space") from error
        raise StorageError(f"cannot store {key}: {error.strerror or error}") from error
    except ObjectStoreError as error:
        reason = str(error).partition("\n")[0]  # the rest is for the library's makers
        raise StorageError(f"cannot store {key}: {reason}") from error
