"""What a job has done so far, in files of its own that the result is made of.

The name of a part holds its digest: one that is not what was stored is made again.
"""

import re
from collections.abc import Callable

from services.blobs import BlobDamagedError, BlobMissingError, Blobs
from services.errors import StorageError

FOLDER = "parts"
_NAME = re.compile(r"/(\d{6,})-[0-9a-f]{64}$")


class Parts:
    """The parts of one job, by position from 0; `log` hears of those that are damaged."""

    def __init__(self, blobs: Blobs, job_id: str, log: Callable[[str], object]) -> None:
        self._blobs = blobs
        self._folder = f"{FOLDER}/{job_id}"
        self._log = log
        self._keys = done(blobs, job_id)

    def has(self, position: int) -> bool:
        """Whether the part is there and whole; a damaged one is removed."""
        key = self._keys.get(position)
        if key is None:
            return False
        try:
            self._blobs.get_sealed(key)
        except (BlobMissingError, BlobDamagedError):
            self._log(f"part {position + 1} of what was done is damaged: it is made again")
            self._blobs.delete(self._keys.pop(position))
            return False
        return True

    def get(self, position: int) -> bytes:
        """The content of a part."""
        try:
            return self._blobs.get_sealed(self._keys[position])
        except (BlobMissingError, BlobDamagedError) as error:
            raise StorageError(
                f"part {position + 1} of what was done is damaged: a retry makes it again"
            ) from error

    def put(self, position: int, content: bytes) -> None:
        """Keep a part durably."""
        self._keys[position] = self._blobs.put_sealed(f"{self._folder}/{position:06}", content)


def done(blobs: Blobs, job_id: str) -> dict[int, str]:
    """Keys of the parts that are there, by position.

    Parts without a digest, which other versions of the service left, are none.
    """
    found = ((_NAME.search(key), key) for key in blobs.keys(f"{FOLDER}/{job_id}"))
    return {int(name[1]): key for name, key in found if name is not None}


def sweep(blobs: Blobs, job_id: str) -> None:
    """Delete the parts of a job that has its result."""
    blobs.delete_below(f"{FOLDER}/{job_id}")
