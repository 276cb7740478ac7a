"""Quotas: how much one key may ask for, and one owner may have.

What a key does not lay down itself, the settings do. The checks are made in the transaction
that adds what is checked.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services import usage
from services.access import Caller, Quotas
from services.database import hold
from services.database.schema import Job
from services.errors import BadInputError, Problem, QueueFullError, QuotaExceededError
from services.jobs.lifecycle import State
from services.settings import Settings

# The quotas that a key may have of its own: the least and the most that each can be. Without
# one request or one running job a key could do nothing, and is better revoked.
RANGES: Mapping[str, tuple[int, int]] = {
    "requests_per_minute": (1, 10**9),
    "stored_bytes": (0, 2**53),
    "queued_jobs": (0, 10**9),
    "running_jobs": (1, 10**9),
}


def in_force(caller: Caller, settings: Settings) -> Caller:
    """The caller, held to the key's own quotas and, where it has none, to the settings'.

    Without API keys requests are not counted.
    """
    customary = Quotas(
        requests_per_minute=None if caller.key_id is None else settings.requests_per_minute,
        stored_bytes=settings.stored_bytes,
        queued_jobs=settings.queued_jobs,
        running_jobs=settings.running_jobs,
        all_queued_jobs=settings.max_queued_jobs,
    )
    own = {name: value for name in RANGES if (value := getattr(caller.quotas, name)) is not None}
    return replace(caller, quotas=replace(customary, **own))


def checked(wanted: Mapping[str, Any]) -> dict[str, int]:
    """Quotas of a key as its row keeps them: those that are None are the settings'.

    Raises: BadInputError for a quota that there is not, or a value that it cannot have.
    """
    for name, value in wanted.items():
        if name not in RANGES:
            raise BadInputError(f"there is no quota {name!r}; there are {', '.join(RANGES)}")
        least, most = RANGES[name]
        if value is not None and not least <= value <= most:
            raise BadInputError(
                f"{name} is {value}: it must be a whole number from {least} to {most}, or null "
                "for what the service's settings say",
                problems=(Problem(f"/quotas/{name}", f"must be from {least} to {most}"),),
            )
    return {name: value for name, value in wanted.items() if value is not None}


def check_storage(session: Session, caller: Caller, size: int) -> None:
    """Refuse `size` bytes more of the caller's owner, if they exceed the quota.

    With 0, refuse only an owner who has used it up: what a job will make is not known
    beforehand.

    Raises: QuotaExceededError.
    """
    allowed = caller.quotas.stored_bytes
    if allowed is None:
        return
    # Held last in every transaction, so that nobody waits in a circle.
    hold(session, f"quotas:{caller.owner}")
    used = usage.stored_bytes(session, caller.owner)
    if used + max(size, 1) > allowed:
        raise QuotaExceededError(
            f"{caller.owner} has stored {used} bytes of the {allowed} allowed (stored_bytes)"
            + (f", and this needs {size} more" if size else "")
            + ": delete images, data sets, losses, models or jobs, or ask an admin for more"
        )


def check_queue(session: Session, caller: Caller) -> None:
    """Refuse one more queued job, if the owner's quota or the service's queue is full.

    Raises: QuotaExceededError; QueueFullError.
    """
    allowed = caller.quotas.queued_jobs
    if allowed is not None:
        hold(session, f"quotas:{caller.owner}")
        queued = usage.queued_jobs(session, caller.owner)
        if queued >= allowed:
            raise QuotaExceededError(
                f"{caller.owner} has {queued} queued jobs of the {allowed} allowed (queued_jobs): "
                "wait until some have started, cancel some, or ask an admin for more"
            )
    length = caller.quotas.all_queued_jobs
    if length is not None:
        # Not held: with many databases' clients it may be exceeded by as many as ask at once.
        waiting = session.scalar(select(func.count()).where(Job.state == State.QUEUED)) or 0
        if waiting >= length:
            raise QueueFullError(
                f"{waiting} jobs wait already, of {length} that the service takes "
                "(MDF_MAX_QUEUED_JOBS): try again when some have started"
            )
