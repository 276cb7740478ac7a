"""Creating requests that are done once, however often they are sent.

The answer is kept under the caller's key in the very transaction that creates the object.
So a crash leaves either both or neither: a request that is sent again finds its answer, or
is done for the first time.
"""

from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from services.database import hold
from services.database.schema import IdempotencyKey, now
from services.errors import IdempotencyMismatchError

KEPT = timedelta(hours=24)


@dataclass(frozen=True)
class Answer:
    """What a creating request was answered; `body` as JSON holds it."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


def recall(session: Session, *, owner: str, key: str, request_digest: str) -> Answer | None:
    """The answer that this key had within the last 24 hours.

    Raises: IdempotencyMismatchError if that was to a request with another digest.
    """
    kept = session.get(IdempotencyKey, (owner, key))
    if kept is None or kept.created < now() - KEPT:
        return None
    if kept.request_digest != request_digest:
        raise IdempotencyMismatchError(
            "this Idempotency-Key was used within the last 24 hours with another request: "
            "take a fresh key for a new request, or send the same one again"
        )
    return Answer(**kept.answer)


def record(session: Session, *, owner: str, key: str, request_digest: str, answer: Answer) -> None:
    """Keep the answer; answers that are too old go."""
    forget_old(session)
    session.add(
        IdempotencyKey(
            owner=owner,
            key=key,
            request_digest=request_digest,
            answer=asdict(answer),
            created=now(),
        )
    )
    session.flush()


def forget_old(session: Session) -> None:
    """Remove the answers that are too old to be given again."""
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created < now() - KEPT))


def reserve(session: Session, *, owner: str, key: str) -> None:
    """Make other transactions with the same key wait for the end of this one."""
    hold(session, f"idempotency:{owner}:{key}")
