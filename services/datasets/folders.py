"""Folders and bucket prefixes that the operator lets data sets be imported from."""

import os
import stat
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import obstore
from obstore.exceptions import BaseError as ObjectStoreError
from obstore.exceptions import NotFoundError as ObjectMissing
from obstore.exceptions import PermissionDeniedError
from obstore.store import ObjectStore, from_url

from services.datasets.members import BadMemberError, Member, Source, check_count, unreadable
from services.errors import BadInputError, Problem, StorageError
from services.settings import BUCKET_SCHEMES

_POINTER = "/source/location"


def check_location(location: str, roots: Sequence[str]) -> str:
    """The folder or URL that `location` means, which lies in one of `roots`.

    Links in the path are followed first, so that none leads out.

    Raises: BadInputError, the same whether there is nothing or it is not allowed.
    """
    if not roots:
        raise _refusal(
            "this server imports no folders: its operator must name them in MDF_DATASET_ROOTS"
        )
    if location.startswith(BUCKET_SCHEMES):
        address = location.rstrip("/")
        plain = not any(part in {"", ".", ".."} for part in address.partition("://")[2].split("/"))
        allowed = [root.rstrip("/") for root in roots]
        inside = any(f"{address}/".startswith(f"{root}/") for root in allowed)
        if plain and inside and not set("?#%\\") & set(address):
            return address
    elif location.startswith("/"):
        folder = os.path.realpath(location)
        allowed = [os.path.realpath(root) for root in roots if root.startswith("/")]
        inside = any(Path(folder).is_relative_to(root) for root in allowed)
        if inside and os.path.isdir(folder):  # noqa: PTH112 - pathlib's raises for long names
            return folder
    raise _refusal(
        f"there is no folder {location!r} that may be imported: it must lie in one of those that "
        "the server's operator has named in MDF_DATASET_ROOTS"
    )


def open_folder(location: str, roots: Sequence[str], *, max_members: int) -> Source:
    """The files in what `check_location` allows, and in the folders below it."""
    place = check_location(location, roots)
    if place.startswith(BUCKET_SCHEMES):
        try:
            store = from_url(place)
        except (ObjectStoreError, ValueError) as error:  # no credentials, say
            raise _refusal(f"the bucket cannot be opened: {_line(error)}") from error
        return Bucket(store, max_members)
    return _Folder(Path(place), max_members)


class _Folder:
    """A folder on this machine. Links in it are not followed."""

    def __init__(self, folder: Path, max_members: int) -> None:
        self._folder = folder
        self.steps = 0
        for _, _, files in os.walk(folder):
            self.steps += len(files)
            check_count(self.steps, max_members)

    def members(self) -> Iterator[tuple[int, Member]]:
        """Each file, a folder's own before those of the folders in it."""
        step = 0
        # By descriptors: nobody can put a link in place of a folder on the way.
        for folder, folders, files, descriptor in os.fwalk(self._folder):
            folders.sort()
            shut = {name: fault for name in folders if (fault := _shut(name, descriptor))}
            folders[:] = [name for name in folders if name not in shut]
            for name in sorted([*files, *shut]):
                step = min(step + 1, self.steps)
                path = os.path.relpath(os.path.join(folder, name), self._folder)  # noqa: PTH118
                fault = shut.get(name) or _fault(name, descriptor)
                read = unreadable if fault else partial(_read, name, descriptor)
                yield step, Member(path, fault, read)


class Bucket:
    """What lies in a bucket, or in a part of it."""

    def __init__(self, store: ObjectStore, max_members: int) -> None:
        self._store = store
        self._files: list[tuple[str, int]] = []
        try:
            for some in obstore.list(store):
                self._files += [(entry["path"], entry["size"]) for entry in some]
                check_count(len(self._files), max_members)
        except ObjectStoreError as error:
            raise _refusal(f"the bucket cannot be listed: {_line(error)}") from error
        self._files.sort()
        self.steps = len(self._files)

    def members(self) -> Iterator[tuple[int, Member]]:
        """Each file, in the order of names."""
        for step, (path, size) in enumerate(self._files, 1):
            yield step, Member(path, None, partial(self._read, path, size))

    def _read(self, path: str, size: int, limit: int) -> bytes:
        length = min(size, limit)
        if length == 0:
            return b""
        try:
            return bytes(obstore.get_range(self._store, path, start=0, length=length))
        except (ObjectMissing, PermissionDeniedError, FileNotFoundError) as error:
            raise BadMemberError(f"cannot be read: {_line(error)}") from error
        except ObjectStoreError as error:  # of the bucket or the way to it: no fault of the file
            raise StorageError(f"cannot read {path} in the bucket: {_line(error)}") from error


def _fault(name: str, descriptor: int) -> str | None:
    try:
        mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if stat.S_ISLNK(mode):
        return "is a symbolic link"
    return None if stat.S_ISREG(mode) else "is a device or the like, not a file"


def _read(name: str, descriptor: int, limit: int) -> bytes:
    try:
        # Not blocking: it may have become a pipe since it was looked at.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with os.fdopen(os.open(name, flags, dir_fd=descriptor), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadMemberError("is a device or the like, not a file")
            return file.read(limit)
    except OSError as error:
        raise BadMemberError(f"cannot be read: {error.strerror}") from error


def _shut(name: str, descriptor: int) -> str | None:
    """Why a folder is not entered; walking would pass over it in silence."""
    try:
        if stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
            return "is a symbolic link"
        os.close(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor))
    except OSError as error:
        return f"is a folder that cannot be read: {error.strerror}"
    return None


def _refusal(message: str) -> BadInputError:
    return BadInputError(message, problems=(Problem(_POINTER, message),))


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
