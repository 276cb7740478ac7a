"""What can go wrong, in words for the person who can mend it.

Every error has a closed `code` for programs and a message that names the thing,
its value, what is allowed and what to do. The REST layer maps codes to statuses
in one place (`api/errors.py`); the command line prints the message.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Problem:
    """One fault in an input: `pointer` is a JSON pointer to it ("" for the whole)."""

    pointer: str
    detail: str


class ServiceError(Exception):
    """An error whose message may be shown to the caller."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.problems = problems


class BadInputError(ServiceError):
    """The request is understood and cannot be served as it is."""

    code = "bad_input"


class BadImageError(BadInputError):
    """The bytes are not an image that the service accepts."""

    code = "bad_image"


class UnsupportedImageError(BadImageError):
    """The bytes are an image, in a format that is not accepted."""

    code = "unsupported_image"


class BadLossFileError(BadInputError):
    """The bytes are not a loss file that the service reads."""

    code = "bad_loss_file"


class BadModelFileError(BadInputError):
    """The bytes are not a restoration network that the service reads."""

    code = "bad_model_file"


class TooLargeError(ServiceError):
    """The body exceeds the cap on bytes."""

    code = "too_large"


class NotFoundError(ServiceError):
    """No such object, or not the caller's: the two are not told apart."""

    code = "not_found"


class ConflictError(ServiceError):
    """The object's state does not allow the action."""

    code = "conflict"


class IdempotencyMismatchError(ServiceError):
    """An idempotency key was used before with another request."""

    code = "idempotency_key_reused"


class IdempotencyInFlightError(ServiceError):
    """The first request with an idempotency key is still being worked on."""

    code = "idempotency_key_in_flight"


class UnauthenticatedError(ServiceError):
    """No key, or one that is unknown or revoked."""

    code = "unauthenticated"


class ForbiddenError(ServiceError):
    """The key lacks the scope that the action needs."""

    code = "forbidden"


class DiskFullError(ServiceError):
    """Free space is below the floor that the operator set."""

    code = "disk_full"


class QuotaExceededError(ServiceError):
    """The owner has as much as the caller's key allows."""

    code = "quota_exceeded"


class QueueFullError(ServiceError):
    """As many jobs wait as the service takes, of all owners together."""

    code = "queue_full"


class RateLimitedError(ServiceError):
    """Too many requests in too short a time; nothing was done."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds


class StorageError(ServiceError):
    """The blob store refused or failed: a fault of the disk, its permissions or the bucket."""


class FileMissingError(StorageError):
    """A file that a row names is not in the blob store."""


class UnavailableError(ServiceError):
    """The service is busy or a part of it is away: the same request may succeed later."""

    code = "unavailable"


class DivergedError(ServiceError):
    """Training produced a value that is not finite; the last good checkpoint is kept."""

    code = "diverged"
