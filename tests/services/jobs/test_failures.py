"""Every exception becomes a code and a sentence."""

import errno

import pytest

from services.blobs import BlobDamagedError, BlobMissingError
from services.errors import BadInputError, DiskFullError, DivergedError, StorageError
from services.jobs.failures import DeadlineExceededError, describe


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (DeadlineExceededError(), "deadline_exceeded", False),
        (DivergedError("the loss is not finite"), "diverged", False),
        (DiskFullError("no space"), "disk_full", True),
        (StorageError("no permission"), "internal", True),
        (BlobMissingError("uploads/ds_1/0-a"), "internal", True),
        (BlobDamagedError("uploads/ds_1/0-a"), "internal", True),
        (OSError(errno.ENOSPC, "no space"), "disk_full", True),
        (BadInputError("seed too small"), "bad_input", False),
        (MemoryError(), "out_of_memory", True),
        (OutOfMemoryError("CUDA out of memory"), "out_of_memory", True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory", True),
        (RuntimeError("private /home/path"), "internal", True),
        (OSError(errno.EACCES, "private /home/path"), "internal", True),
    ],
)
def test_codes(error, code, retryable):
    described = describe(error)
    assert (described["code"], described["retryable"]) == (code, retryable)
    assert len(described["message"]) >= 8
    assert "private" not in described["message"]
