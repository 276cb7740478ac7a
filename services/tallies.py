"""Numbers that only rise, kept in the database: what the metrics count over all time.

They are counted in the transactions that make what they count: no restart loses one, and any
number of processes may count.
"""

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, SessionTransaction

from services.database.schema import Tally

# Upper bounds of the times that are counted, in seconds: from one to a week.
BOUNDS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 7 * 24 * 3600)


class Count(StrEnum):
    """What is counted, and its labels."""

    CLAIMS = "claims"  # type
    ATTEMPTS_LOST = "attempts_lost"  # type
    JOBS_ENDED = "jobs_ended"  # type, state, code (of the error, or empty)


class Time(StrEnum):
    """What is measured, and its labels."""

    WAIT = "job_wait"  # type; from submission to the first start
    RUN = "job_run"  # type; computed in all attempts, of a job that ended


_PENDING = "tallies"  # key in the session's `info`
Labels = tuple[tuple[str, str], ...]  # names and values, in the order of the names
Counts = Mapping[Labels, float]


@dataclass
class Times:
    """How many times were counted, by bucket, and their sum in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    sum: float = 0.0


def count(session: Session, name: Count, **labels: str) -> None:
    """Add one to the number of that name and those labels, when the transaction commits."""
    _add(session, name, 1.0, labels)


def measure(session: Session, name: Time, seconds: float, **labels: str) -> None:
    """Add a time to the histogram of that name and those labels, as `count` does."""
    bucket = bisect_left(BOUNDS, seconds)
    _add(session, f"{name}_bucket", 1.0, {**labels, "bucket": str(bucket)})
    _add(session, f"{name}_sum", max(seconds, 0.0), labels)


def counts(session: Session, name: Count) -> Counts:
    """What `count` has counted under that name, by labels."""
    return _values(session, name)


def times(session: Session, name: Time) -> dict[Labels, Times]:
    """What `measure` has measured under that name, by labels."""
    found: dict[Labels, Times] = {}
    for labels, value in _values(session, f"{name}_bucket").items():
        bucket = int(dict(labels)["bucket"])
        kept = tuple(label for label in labels if label[0] != "bucket")
        found.setdefault(kept, Times()).counts[bucket] += int(value)
    for labels, value in _values(session, f"{name}_sum").items():
        found.setdefault(labels, Times()).sum = value
    return found


def _values(session: Session, name: str) -> dict[Labels, float]:
    rows = session.scalars(select(Tally).where(Tally.name == name))
    return {tuple(json.loads(row.labels).items()): row.value for row in rows}


def _add(session: Session, name: str, value: float, labels: Mapping[str, str]) -> None:
    pending = session.info.setdefault(_PENDING, {})
    key = (name, json.dumps(dict(sorted(labels.items()))))
    pending[key] = pending.get(key, 0.0) + value


@event.listens_for(Session, "before_commit")
def _write(session: Session) -> None:
    """Add what was counted, last of all and in one order: no transaction waits for another long.

    Two that touched the same rows in different orders would wait for each other for ever.
    """
    pending = session.info.pop(_PENDING, None)
    if not pending:
        return
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    for (name, labels), value in sorted(pending.items()):
        statement = insert(Tally).values(name=name, labels=labels, value=value)
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["name", "labels"],
                set_={"value": Tally.value + statement.excluded.value},
            )
        )


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, previous: SessionTransaction) -> None:  # noqa: ARG001
    session.info.pop(_PENDING, None)
