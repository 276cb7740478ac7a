"""Who calls, and what they may see: objects belong to their owner, an admin sees all."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import ColumnElement, true
from sqlalchemy.orm import InstrumentedAttribute

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")


@dataclass(frozen=True)
class Quotas:
    """How much a caller may have; None where nothing is laid down.

    Requests are counted for each key; what is stored, queued and runs, for the key's owner.
    """

    requests_per_minute: int | None = None
    stored_bytes: int | None = None
    queued_jobs: int | None = None
    running_jobs: int | None = None
    all_queued_jobs: int | None = None  # of all owners together; no key has its own


@dataclass(frozen=True)
class Caller:
    """An authenticated caller."""

    owner: str
    scopes: frozenset[Scope]
    key_id: str | None = None
    session_id: str | None = None  # of the browser session by which the key was shown
    quotas: Quotas = Quotas()

    def may(self, scope: Scope) -> bool:
        """Whether the caller holds `scope`; admin holds all, write holds read."""
        if "admin" in self.scopes:
            return True
        return scope in self.scopes or (scope == "read" and "write" in self.scopes)

    def acting_for(self, owner: str) -> "Caller":
        """The same caller, whose work counts for `owner`: the one of an object that is there."""
        return replace(self, owner=owner)

    def sees(self, owner: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
        """The condition on an owner column that selects what the caller may see."""
        return true() if self.may("admin") else owner == self.owner


# The caller of an installation without keys, which listens on loopback only.
LOCAL = Caller(owner="local", scopes=frozenset(SCOPES))
