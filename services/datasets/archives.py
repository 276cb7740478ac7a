"""Zip and tar archives that strangers have made.

Nothing is unpacked, and no name of an archive becomes that of a file. What the libraries read
in one go is metered, because they believe the sizes that an archive tells: a header may claim
gigabytes, and a member of a few bytes may expand to them.
"""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, cast

from services.datasets.members import (
    CHUNK,
    BadMemberError,
    Member,
    Source,
    check_count,
    shown,
    unreadable,
)
from services.errors import BadInputError

ACCEPTED = "a zip archive, or tar, plain or compressed by gzip, bzip2 or xz"

_DIRECTORY_BYTES = 32 << 20  # of a zip archive's table of contents
_HEADER_BYTES = 1 << 20  # of one member, extended headers included
_XZ_MEMORY_BYTES = 128 << 20  # `xz -9` needs 65 MiB to decompress
_TRAILER_CHUNKS = 64
_LOCAL_HEADER_BYTES = 1 << 17
_ENCRYPTED = 0x1 | 0x40 | 0x2000

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
_KNOWN = {
    b"Rar!": "RAR",
    b"7z\xbc\xaf": "7-Zip",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"MSCF": "Cabinet",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
}
# What the libraries raise on damaged archives; OSError with a number is the system's own.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    ArithmeticError,
    NotImplementedError,  # zipfile: an unknown compression
    RuntimeError,  # RecursionError, for headers that follow headers without end
)


def open_archive(file: io.RawIOBase, *, max_bytes: int, max_members: int) -> Source:
    """The archive in `file`, which can seek.

    Args:
        max_bytes: what a compressed tar may expand to.
        max_members: files and folders, and whatever else is in it.

    Raises: BadInputError for what is no such archive.
    """
    buffered = io.BufferedReader(file, CHUNK)
    start = buffered.read(512)
    buffered.seek(0)
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _Zip(buffered, max_members)
    if start.startswith(_COMPRESSED) or start[257:262] == b"ustar" or _is_old_tar(start):
        return _Tar(buffered, max_bytes, max_members)
    known = next((name for magic, name in _KNOWN.items() if start.startswith(magic)), None)
    what = "is not an archive that the service knows" if known is None else f"is a {known} file"
    raise BadInputError(f"the upload {what}; it takes {ACCEPTED}")


def is_archive(content: bytes) -> bool:
    """Whether a file is itself packed, by how it begins."""
    packed = (b"PK\x03\x04", b"PK\x05\x06", b"Rar!", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd")
    return content.startswith((*packed, *_COMPRESSED)) or content[257:262] == b"ustar"


class _Zip:
    """A zip archive: its table of contents is read first, and each member where it lies."""

    def __init__(self, file: io.BufferedIOBase, max_members: int) -> None:
        self._file = _Metered(file)
        self._file.allow(_DIRECTORY_BYTES, "its table of contents")
        with _damage_is_bad_input("the zip archive"):
            self._zip = zipfile.ZipFile(cast("IO[bytes]", self._file))
        self._infos = self._zip.infolist()
        self.steps = len(self._infos)
        check_count(self.steps, max_members)

    def members(self) -> Iterator[tuple[int, Member]]:
        """Each file of the table of contents."""
        for step, info in enumerate(self._infos, 1):
            if info.is_dir():
                continue
            fault = _zip_fault(info)
            read = unreadable if fault else partial(self._read, info)
            yield step, Member(info.filename, fault, read)

    def _read(self, info: zipfile.ZipInfo, limit: int) -> bytes:
        # Deflated data is at most a little larger than what it holds.
        self._file.allow(2 * limit + _LOCAL_HEADER_BYTES, shown(info.filename))
        try:
            with self._zip.open(info) as member:
                return _read_whole(member, limit)
        except _DAMAGE as error:
            if _is_the_systems(error):
                raise
            raise BadMemberError(f"is damaged in the archive ({_reason(error)})") from error


class _Tar:
    """A tar archive, read from its start to its end."""

    def __init__(self, file: io.BufferedIOBase, max_bytes: int, max_members: int) -> None:
        self._packed = file
        self._max_bytes = max_bytes
        self._max_members = max_members
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.steps = (size >> 20) + 1  # MiB

    def members(self) -> Iterator[tuple[int, Member]]:
        """Each file as it comes."""
        self._packed.seek(0)
        file = _unpacked(self._packed, self._max_bytes)
        with _damage_is_bad_input("the tar archive"):
            file.allow(_HEADER_BYTES, "its first header")
            tar = tarfile.TarFile(
                fileobj=cast("IO[bytes]", file), mode="r", errors="surrogateescape"
            )
        count = 0
        while True:
            with _damage_is_bad_input("the tar archive", after=count):
                file.allow(_HEADER_BYTES, "a header")
                info = tar.next()
            # What the library would keep of every member.
            tar.members = []  # type: ignore[attr-defined]  # typeshed lacks it
            tar.pax_headers = {}
            if info is None:
                break
            count += 1
            check_count(count, self._max_members)
            if info.isdir():
                continue
            fault = _tar_fault(info)
            read = unreadable if fault else partial(self._read, tar, info, file)
            yield min(self.steps, (self._packed.tell() >> 20) + 1), Member(info.name, fault, read)
        self._check_end(file, count)

    @staticmethod
    def _read(tar: tarfile.TarFile, info: tarfile.TarInfo, file: "_Metered", limit: int) -> bytes:
        with _damage_is_bad_input(f"the tar archive, in {shown(info.name)},"):
            file.allow(limit + CHUNK, shown(info.name))
            member = tar.extractfile(info)
            assert member is not None  # noqa: S101 - it is a regular file
            return _read_whole(member, limit)

    @staticmethod
    def _check_end(file: "_Metered", count: int) -> None:
        """The library takes a header that it cannot read for the end."""
        if file.last.strip(b"\0"):
            raise BadInputError(
                f"the tar archive is damaged after {count} members: what follows is no header; "
                "make it anew and upload it again"
            )
        with _damage_is_bad_input("the tar archive", after=count):
            for _ in range(_TRAILER_CHUNKS):  # to where the checksum of the compression is
                file.allow(CHUNK, "its end")
                if not file.read(CHUNK):
                    break


class _Metered:
    """A file of which may be read only so much before somebody allows more."""

    def __init__(self, file: io.BufferedIOBase, *, stream_bytes: int | None = None) -> None:
        self._file = file
        self._stream_bytes = stream_bytes  # of a stream, which does not go back
        self._position = 0
        self._allowed = 0
        self._what = ""
        self.last = b""

    def allow(self, size: int, what: str) -> None:
        """Let `size` more bytes be read, for `what`."""
        self._allowed, self._what = size, what

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes, or the rest, as far as that is allowed."""
        wanted = self._allowed + 1 if size is None or size < 0 else min(size, self._allowed + 1)
        content = self._file.read(wanted)
        self._allowed -= len(content)
        if self._allowed < 0:
            raise BadInputError(
                f"the archive is refused: {self._what} is larger than such a thing ever needs to be"
            )
        self._position += len(content)
        self._check_stream()
        self.last = content
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; in a stream forwards only."""
        if self._stream_bytes is None:
            self._position = self._file.seek(offset, whence)
            return self._position
        if whence != io.SEEK_SET or offset < self._position:
            raise BadInputError("the archive is damaged: its headers point backwards")
        while self._position < offset:
            passed = self._file.read(min(CHUNK, offset - self._position))
            if not passed:
                break
            self._position += len(passed)
            self._check_stream()
        return self._position

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seekable(self) -> bool:
        """Yes, as far as `seek` goes."""
        return True

    def _check_stream(self) -> None:
        if self._stream_bytes is not None and self._position > self._stream_bytes:
            raise BadInputError(
                f"the archive expands to more than {self._stream_bytes} bytes, which is the most "
                "that is accepted (MDF_MAX_DATASET_BYTES)"
            )


class _Xz(io.RawIOBase):
    """What an xz file holds; unlike the standard library's reader it bounds the memory."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._decoder: lzma.LZMADecompressor | None = None
        self._rest = b""

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any buffer
        """Fill `buffer`, at least by a byte before the end."""
        while True:
            if self._decoder is None:
                # Files may follow each other, with zeros between them.
                rest = self._rest.lstrip(b"\0")
                while not rest:
                    if not (more := self._file.read(CHUNK)):
                        return 0
                    rest = more.lstrip(b"\0")
                self._rest = rest
                self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
            packed, self._rest = self._rest, b""
            if not packed and self._decoder.needs_input and not (packed := self._file.read(CHUNK)):
                raise EOFError("it ends too early")
            content = self._decoder.decompress(packed, len(buffer))
            if self._decoder.eof:
                self._rest, self._decoder = self._decoder.unused_data, None
            if content:
                buffer[: len(content)] = content
                return len(content)


def _unpacked(file: io.BufferedIOBase, max_bytes: int) -> _Metered:
    start = file.read(6)
    file.seek(0)
    raw: io.RawIOBase
    if start.startswith(b"\x1f\x8b"):
        raw = cast("io.RawIOBase", gzip.GzipFile(fileobj=file, mode="rb"))
    elif start.startswith(b"BZh"):
        raw = cast("io.RawIOBase", bz2.BZ2File(file, "rb"))
    elif start.startswith(b"\xfd7zXZ\0"):
        raw = _Xz(file)
    else:
        return _Metered(file)
    return _Metered(io.BufferedReader(raw, CHUNK), stream_bytes=max_bytes)


def _zip_fault(info: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if kind not in (0, stat.S_IFREG):
        return "is a device or the like, not a file"
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted: pack it without a password"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is compressed by method {info.compress_type}: pack it with deflate, or stored"
    return None


def _tar_fault(info: tarfile.TarInfo) -> str | None:
    if info.issym() or info.islnk():
        return "is a link"
    if info.issparse():
        return "is a sparse file: pack it without holes"
    if not info.isreg():
        return "is a device or the like, not a file"
    return None


def _is_old_tar(start: bytes) -> bool:
    """Whether it begins as tars of before 1988 do, which have no magic bytes."""
    try:
        tarfile.TarInfo.frombuf(start, "ascii", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _read_whole(member: IO[bytes], limit: int) -> bytes:
    content = bytearray()
    while len(content) < limit and (more := member.read(min(CHUNK, limit - len(content)))):
        content += more
    return bytes(content)


@contextmanager
def _damage_is_bad_input(what: str, *, after: int = 0) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        if _is_the_systems(error):
            raise
        where = f" after {after} members" if after else ""
        raise BadInputError(
            f"{what} is damaged or incomplete{where} ({_reason(error)}): make it anew and upload "
            "it again"
        ) from error


def _is_the_systems(error: Exception) -> bool:
    """Whether the system refused, as for want of descriptors; errors of a format have no number."""
    return isinstance(error, OSError) and error.errno is not None


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
