"""An uploaded archive as a file to read, without putting its parts together."""

import io
from bisect import bisect_right
from collections.abc import Callable, Sequence

from services.blobs import Blobs
from services.database.schema import DatasetPart

_CHUNK = 1 << 20


class UploadedFile(io.RawIOBase):
    """The bytes of `parts`, one after the other; reads from anywhere and keeps a MiB.

    `on_read` is called before every read of the store, which may take a while: what it raises
    ends the read.

    Raises: BlobMissingError if a part is gone, BlobDamagedError if it has lost its end,
    BlobUnreadableError if the disk cannot read it.
    """

    def __init__(
        self, blobs: Blobs, parts: Sequence[DatasetPart], on_read: Callable[[], None]
    ) -> None:
        self._blobs = blobs
        self._parts = parts
        self._offsets = [part.offset for part in parts]
        self._size = parts[-1].offset + parts[-1].size
        self._on_read = on_read
        self._position = 0
        self._kept = (0, b"")  # where a stretch begins, and the stretch

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to `offset` from the start, the position or the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(f"position {base + offset} lies before the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any buffer
        """Fill `buffer` as far as one stretch goes."""
        start, kept = self._kept
        if not start <= self._position < start + len(kept):
            start, kept = self._kept = (self._position, self._fetch())
        found = kept[self._position - start : self._position - start + len(buffer)]
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)

    def _fetch(self) -> bytes:
        if self._position >= self._size:
            return b""
        self._on_read()
        part = self._parts[bisect_right(self._offsets, self._position) - 1]
        start = self._position - part.offset
        length = min(_CHUNK, part.size - start)
        return b"".join(self._blobs.stream(part.blob, start=start, length=length))
