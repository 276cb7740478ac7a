"""Why a job failed: a closed code and a message for its owner, from any exception."""

from typing import Any, Literal

from services.blobs import BlobDamagedError, BlobMissingError
from services.errors import DiskFullError, DivergedError, ServiceError, StorageError
from services.files import is_disk_full

Code = Literal[
    "out_of_memory",
    "diverged",
    "worker_lost",
    "deadline_exceeded",
    "disk_full",
    "bad_input",
    "internal",
]


class DeadlineExceededError(Exception):
    """The job's deadline passed while it ran."""


def describe(error: BaseException) -> dict[str, Any]:
    """The `error` of a job that ended with this exception; never a traceback."""
    match error:
        case DeadlineExceededError():
            message = "the deadline passed before the job was done"
            return failure("deadline_exceeded", message, retryable=False)
        case DivergedError(message=message):
            return failure("diverged", message, retryable=False)
        case DiskFullError(message=message):
            return failure("disk_full", message, retryable=True)
        case StorageError(message=message):
            return failure("internal", message, retryable=True)
        case ServiceError(message=message):
            return failure("bad_input", message, retryable=False)
        case _:
            return _describe_foreign(error)


def worker_lost(attempts: int) -> dict[str, Any]:
    """The `error` of a job that lost its process in so many attempts in a row."""
    return failure(
        "worker_lost",
        f"the job's process ended unexpectedly in {attempts} attempts without a step forward; "
        "too little memory is the most frequent cause: the worker's log has the exit codes",
        retryable=True,
    )


def failure(code: Code, message: str, *, retryable: bool) -> dict[str, Any]:
    """The `error` of a job, as it is stored and shown."""
    return {"code": code, "message": message, "retryable": retryable}


def _describe_foreign(error: BaseException) -> dict[str, Any]:
    if _is_out_of_memory(error):
        return failure(
            "out_of_memory",
            "the device's memory does not hold the job: use a device with more memory, or ask for "
            "less (a loss: a smaller seed, `max_size`, `crop` or `width`; a model: a smaller "
            "`batch`, `patch` or network)",
            retryable=True,
        )
    if is_disk_full(error):
        return failure("disk_full", "the disk is full: free some space, then retry", retryable=True)
    if isinstance(error, (BlobMissingError, BlobDamagedError)):
        message = (
            f"the stored file {error} is missing or damaged: take it from a backup and retry, or "
            "upload it again"
        )
        return failure("internal", message, retryable=True)
    return failure(
        "internal",
        f"the computation stopped on an unexpected error ({type(error).__name__}); "
        "the worker's log has the details under the job's id",
        retryable=True,
    )


def _is_out_of_memory(error: BaseException) -> bool:
    # torch's own class, and its CPU allocator's plain RuntimeError; torch is not imported here.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )
