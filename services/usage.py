"""What owners have: bytes and counts by kind, and jobs that wait or run, by the rows.

Each object counts for its owner with its whole size. Where objects share a file, each counts
it: so nobody's use depends on what others have.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, get_args

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    bindparam,
    func,
    literal,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from services.database.schema import (
    Artifact,
    Dataset,
    DatasetImage,
    DatasetPart,
    Image,
    Job,
    JobSample,
    Loss,
    LossFile,
    Model,
    ModelFile,
)
from services.jobs.lifecycle import HELD, State

Kind = Literal["images", "datasets", "losses", "models", "samples", "artifacts", "checkpoints"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Use:
    """How many objects of one kind there are, and the bytes of their files."""

    count: int = 0
    size: int = 0


@dataclass(frozen=True)
class Usage:
    """What one owner has."""

    kinds: Mapping[Kind, Use] = field(
        default_factory=lambda: MappingProxyType(dict.fromkeys(KINDS, Use()))
    )
    queued_jobs: int = 0
    running_jobs: int = 0

    @property
    def stored_bytes(self) -> int:
        """Of all kinds together."""
        return sum(use.size for use in self.kinds.values())


def of_owner(session: Session, owner: str) -> Usage:
    """What `owner` has; nothing, if there is no such owner."""
    return _found(session, owner).get(owner, Usage())


def of_all(session: Session) -> dict[str, Usage]:
    """What every owner has who has anything, by owner."""
    return _found(session, None)


def stored_bytes(session: Session, owner: str) -> int:
    """What `owner` has stored, in bytes."""
    return int(session.scalar(_stored_bytes(), {"owner": owner}) or 0)


def queued_jobs(session: Session, owner: str) -> int:
    """How many jobs of `owner` wait."""
    query = select(func.count()).where(Job.owner == owner, Job.state == State.QUEUED)
    return session.scalar(query) or 0


def _found(session: Session, owner: str | None) -> dict[str, Usage]:
    kinds: defaultdict[str, dict[Kind, Use]] = defaultdict(lambda: dict.fromkeys(KINDS, Use()))
    is_one = owner is not None
    for whose, kind, count, size in session.execute(_stored(is_one=is_one), {"owner": owner}):
        before = kinds[whose][kind]
        kinds[whose][kind] = Use(before.count + count, before.size + int(size))
    queued: dict[str, int] = {}
    running: dict[str, int] = {}
    for whose, state, count in session.execute(_active(is_one=is_one), {"owner": owner}):
        counted = queued if state == State.QUEUED else running
        counted[whose] = counted.get(whose, 0) + count
    return {
        whose: Usage(MappingProxyType(kinds[whose]), queued.get(whose, 0), running.get(whose, 0))
        for whose in sorted({*kinds, *queued, *running})
    }


# Long, and asked often: made once, for the owner who is given with the parameter, or for all.
@cache
def _stored(*, is_one: bool) -> CompoundSelect[str, Kind, int, int]:
    return union_all(*_sizes(is_one=is_one), *_counts(is_one=is_one))


@cache
def _stored_bytes() -> Select[int]:
    sums = union_all(*_sizes(is_one=True)).subquery()
    return select(func.coalesce(func.sum(sums.c.size), 0))


@cache
def _active(*, is_one: bool) -> Select[str, str, int]:
    return (
        select(Job.owner, Job.state, func.count())
        .where(Job.state.in_({State.QUEUED, *HELD}), _of(Job.owner, is_one=is_one))
        .group_by(Job.owner, Job.state)
    )


def _sizes(*, is_one: bool) -> list[Select[str, Kind, int, int]]:
    """Owner, kind, number (or 0, see `_counts`) and bytes, of the rows that tell sizes."""
    return [
        _sum("images", Image.owner, Image.size, is_one=is_one, counted=True),
        _sum("datasets", Dataset.owner, DatasetImage.size, is_one=is_one).join(
            Dataset, Dataset.id == DatasetImage.dataset_id
        ),
        _sum("datasets", Dataset.owner, DatasetPart.size, is_one=is_one).join(
            Dataset, Dataset.id == DatasetPart.dataset_id
        ),
        _sum("losses", Loss.owner, LossFile.size, is_one=is_one).join(
            Loss, Loss.id == LossFile.loss_id
        ),
        _sum("models", Model.owner, ModelFile.size, is_one=is_one).join(
            Model, Model.id == ModelFile.model_id
        ),
        _sum("samples", Job.owner, JobSample.size, is_one=is_one, counted=True).join(
            Job, Job.id == JobSample.job_id
        ),
        _sum("artifacts", Job.owner, Artifact.size, is_one=is_one, counted=True).join(
            Job, Job.id == Artifact.job_id
        ),
        _sum("checkpoints", Job.owner, Job.checkpoint_size, is_one=is_one, counted=True).where(
            Job.checkpoint.is_not(None)
        ),
    ]


def _counts(*, is_one: bool) -> list[Select[str, Kind, int, int]]:
    """The same of objects that have several files, or none as yet: their number."""
    tables: Mapping[Kind, type[Dataset | Loss | Model]] = {
        "datasets": Dataset,
        "losses": Loss,
        "models": Model,
    }
    return [
        select(
            table.owner.label("owner"),
            _literal(kind),
            func.count().label("count"),
            literal(0).label("size"),
        )
        .where(_of(table.owner, is_one=is_one))
        .group_by(table.owner)
        for kind, table in tables.items()
    ]


def _sum(
    kind: Kind,
    whose: InstrumentedAttribute[str],
    size: InstrumentedAttribute[Any],
    *,
    is_one: bool,
    counted: bool = False,
) -> Select[str, Kind, int, int]:
    return (
        select(
            whose.label("owner"),
            _literal(kind),
            (func.count() if counted else literal(0)).label("count"),
            func.coalesce(func.sum(size), 0).label("size"),
        )
        .select_from(size.class_)
        .where(_of(whose, is_one=is_one))
        .group_by(whose)
    )


def _literal(kind: Kind) -> ColumnElement[Kind]:
    return literal(kind).label("kind")


def _of(whose: InstrumentedAttribute[str], *, is_one: bool) -> ColumnElement[bool]:
    return whose == bindparam("owner") if is_one else true()
