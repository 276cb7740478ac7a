"""What can go wrong in the library, in words for the person who can mend it."""

from dataclasses import dataclass


class MDFError(Exception):
    """The root of every error that this package raises on purpose."""


class ArtefactError(MDFError):
    """A file is not a loss that this package reads; the message names what is wrong with it."""


class ShapeError(MDFError):
    """Images that the loss cannot compare: wrong rank, channels, size or type."""


class UnreachableError(MDFError):
    """The server gave no answer, also not after repeated attempts."""


class ProtocolError(MDFError):
    """The server answered with something that this client does not understand."""


class DownloadError(MDFError):
    """A file arrived, but not with the bytes that the server had promised."""


class WebhookError(MDFError):
    """A request that is not proved to be a webhook's message from the service."""


@dataclass(frozen=True)
class FieldProblem:
    """One fault in a request: `pointer` is a JSON pointer to the field ("" for the whole)."""

    pointer: str
    detail: str

    def __str__(self) -> str:
        """`task.quality: …`, or the detail alone if it concerns the whole request."""
        name = self.pointer.removeprefix("#").strip("/").replace("/", ".")
        return f"{name}: {self.detail}" if name else self.detail


class ApiError(MDFError):
    """The server refused a request; the fields are those of its problem+json (RFC 9457)."""

    def __init__(
        self,
        *,
        status: int,
        code: str,
        detail: str,
        errors: tuple[FieldProblem, ...] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        faults = "; ".join(str(error) for error in errors if error.detail not in detail)
        super().__init__(f"{detail} ({faults})" if faults else detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.request_id = request_id
        self.retry_after = retry_after

    def about(self, thing: object) -> "ApiError":
        """The same refusal, whose detail begins with what it is about."""
        return ApiError(
            status=self.status,
            code=self.code,
            detail=f"{thing}: {self.detail}",
            errors=self.errors,
            request_id=self.request_id,
            retry_after=self.retry_after,
        )
