"""Whose turn it is: owners take turns at a queue, so that nobody's many jobs hold up another's one.

A slot serves the owner who has the fewest jobs of that queue running; of several such, the one
whose turn was longest ago. An owner who has as many running as the job in front allows, in
all queues together, is passed over. Within an owner's line, the highest priority goes first, then
the oldest; priorities of other owners do not matter.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, reduce

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    Subquery,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    not_,
    or_,
    select,
    union,
    union_all,
)
from sqlalchemy.orm import Session, aliased

from services.database import hold
from services.database.schema import Job, Share, now
from services.jobs.lifecycle import HELD
from services.jobs.queues import QUEUES, types_in

# Literally so: with a parameter SQLite does not see that the index of the lines serves.
_WAITS = Job.state == literal_column("'queued'")


@dataclass(frozen=True)
class Owner:
    """One who has jobs waiting in a queue."""

    name: str
    running: int  # jobs of that queue
    active: int  # jobs of all queues that run
    served: datetime | None  # the last turn


@dataclass(frozen=True)
class Head:
    """The job in front of an owner's line."""

    id: str
    token: int
    running_cap: int | None


def owners(session: Session, queue: str) -> list[Owner]:
    """Those with jobs in the queue, in the order of their turns."""
    return [Owner(*row) for row in session.execute(_turns(queue))]


def head(session: Session, queue: str, owner: str) -> Head | None:
    """The first in line of that owner's jobs whose deadline has not passed, if there is one."""
    fronts = [
        front
        for kind in types_in(queue)
        if (front := session.execute(_front(kind, owner)).one_or_none()) is not None
    ]
    if not fronts:
        return None
    first = min(fronts, key=lambda front: (-front.priority, front.queued, front.id))
    return Head(first.id, first.token, first.running_cap)


def may_start(session: Session, job: Job) -> bool:
    """Whether fewer jobs of its owner run than this one allows.

    In the transaction that claims it: other claims for the same owner wait for its end.
    """
    hold(session, f"turns:{job.owner}")
    if job.running_cap is None:
        return True
    active = select(func.count()).where(Job.owner == job.owner, Job.state.in_(HELD))
    return (session.scalar(active) or 0) < job.running_cap


def end_turn(session: Session, job: Job) -> None:
    """Note that the job's owner has had the turn: it has been claimed."""
    queue, served = QUEUES[job.type], now()
    last = session.scalar(select(func.max(Share.served)).where(Share.queue == queue))
    if last is not None and last >= served:  # the clock was set back: turns go on in their order
        served = last + timedelta(microseconds=1)
    session.merge(Share(queue=queue, owner=job.owner, served=served))
    session.flush()


def positions(session: Session, jobs: Sequence[Job]) -> dict[str, int]:
    """Places of queued jobs among those of all owners in their queues, the next being 1.

    As if no job came and none ended from now on; those for whose start another one of their
    owner must end come after all others.
    """
    places: dict[str, int] = {}
    for queue in {QUEUES[job.type] for job in jobs}:
        lines = _lines(session, queue)
        ids = [job.id for job in jobs if QUEUES[job.type] == queue]
        for row in session.execute(_ahead_of_own(queue), {"ids": ids}):
            places[row.id] = 1 + _ahead(lines, row.owner, row.ahead)
    return places


def overdue(moment: datetime) -> ColumnElement[bool]:
    """Whether a job's deadline has passed."""
    return and_(Job.deadline.is_not(None), Job.deadline <= moment)


@dataclass(frozen=True)
class _Line:
    """An owner's jobs in a queue: so many wait, and so many of those may start right now."""

    owner: Owner
    place: int  # of the owner, by the last turn alone
    waiting: int
    free: int

    def ahead_of(self, other: "_Line", nth: int) -> int:
        """How many of these start before the `nth` of another line, from 0.

        At each turn the one with the fewest running is served: before the other's `nth` job
        starts, this line must have come up to where the other is then.
        """
        levels = other.owner.running + nth - self.owner.running
        if levels < 0:
            return 0
        # Both have equally many running: who came to it later had a turn later.
        sooner = (-self.owner.running, self.place) < (-other.owner.running, other.place)
        return min(self.waiting, levels + sooner)

    def now(self) -> "_Line":
        """What of it may start right now."""
        return replace(self, waiting=min(self.waiting, self.free))

    def later(self) -> "_Line":
        """What is left of it then."""
        started = min(self.waiting, self.free)
        owner = replace(self.owner, running=self.owner.running + started)
        return replace(self, owner=owner, waiting=self.waiting - started)


def _ahead(lines: Sequence[_Line], owner: str, nth: int) -> int:
    """How many jobs start before the owner's `nth`, from 0."""
    own = next((line for line in lines if line.owner.name == owner), None)
    if own is None:  # nothing waits any more
        return nth
    if nth < own.free:
        ahead, rest = 0, [line.now() for line in lines]
    else:
        ahead = sum(line.now().waiting for line in lines)
        nth -= own.now().waiting
        rest = [line.later() for line in lines]
    own = next(line for line in rest if line.owner.name == owner)
    others = (line.ahead_of(own, nth) for line in rest if line is not own)
    return ahead + nth + sum(others)


def _lines(session: Session, queue: str) -> list[_Line]:
    rows = session.execute(_waiting(queue)).all()
    by_turn = sorted(rows, key=lambda row: (row.served is not None, row.served, row.owner))
    return [
        _Line(
            owner=Owner(row.owner, row.running, row.active, row.served),
            place=place,
            waiting=row.waiting,
            free=row.waiting if row.cap is None else max(0, row.cap - row.active),
        )
        for place, row in enumerate(by_turn)
    ]


# What is cached from here on took longer to put together than the database takes to answer it.


@cache
def _turns(queue: str) -> Select[str, int, int, datetime | None]:
    waiting = union(*map(_owners_of, types_in(queue))).subquery()
    standing = _standing(queue, waiting)
    return standing.order_by("running", Share.served.asc().nulls_first(), waiting.c.owner)


@cache
def _waiting(queue: str) -> Select[str, int, int, datetime | None, int, int | None]:
    """The owners with jobs in the queue, how many wait, and the least cap of those."""
    # Each type by itself: so the index of the lines serves.
    each = union_all(
        *(
            select(Job.owner, func.count().label("waiting"), func.min(Job.running_cap).label("cap"))
            .where(_WAITS, Job.type == kind)
            .group_by(Job.owner)
            for kind in types_in(queue)
        )
    ).subquery()
    waiting = (
        select(
            each.c.owner,
            func.sum(each.c.waiting).label("waiting"),
            func.min(each.c.cap).label("cap"),
        )
        .group_by(each.c.owner)
        .subquery()
    )
    return _standing(queue, waiting).add_columns(waiting.c.waiting, waiting.c.cap)


def _standing(queue: str, waiting: Subquery) -> Select[str, int, int, datetime | None]:
    """Each owner of `waiting`: the jobs that run there, those of all queues, the last turn."""
    counts = (
        select(
            Job.owner,
            func.sum(case((Job.type.in_(types_in(queue)), 1), else_=0)).label("running"),
            func.count().label("active"),
        )
        .where(Job.state.in_(HELD))
        .group_by(Job.owner)
        .subquery()
    )
    return (
        select(
            waiting.c.owner,
            func.coalesce(counts.c.running, 0).label("running"),
            func.coalesce(counts.c.active, 0).label("active"),
            Share.served,
        )
        .outerjoin(counts, counts.c.owner == waiting.c.owner)
        .outerjoin(Share, and_(Share.owner == waiting.c.owner, Share.queue == queue))
    )


@cache
def _ahead_of_own(queue: str) -> Select[str, str, int]:
    """How many jobs of the same owner go before each of those with `ids`, which wait."""
    other = aliased(Job)
    before = or_(
        other.priority > Job.priority,
        and_(other.priority == Job.priority, other.queued < Job.queued),
        and_(other.priority == Job.priority, other.queued == Job.queued, other.id < Job.id),
    )
    waits = other.state == literal_column("'queued'")
    counts = [
        select(func.count())
        .where(waits, other.type == kind, other.owner == Job.owner, before)
        .scalar_subquery()
        for kind in types_in(queue)
    ]
    ahead = reduce(operator.add, counts).label("ahead")
    return select(Job.id, Job.owner, ahead).where(Job.id.in_(bindparam("ids", expanding=True)))


def _front(kind: str, owner: str) -> Select[str, int, int, datetime, int | None]:
    waits = and_(_WAITS, Job.type == kind, Job.owner == owner, not_(overdue(now())))
    highest = select(Job.priority).where(waits).order_by(Job.priority.desc()).limit(1)
    return (
        select(Job.id, Job.token, Job.priority, Job.queued, Job.running_cap)
        .where(waits, Job.priority == highest.scalar_subquery())
        .order_by(Job.queued, Job.id)
        .limit(1)
    )


def _owners_of(kind: str) -> Select[str]:
    """The owners of waiting jobs, each found by one step in the index, however many wait."""

    def next_owner(*conditions: ColumnElement[bool]) -> ScalarSelect[str]:
        return (
            select(func.min(Job.owner))
            .where(_WAITS, Job.type == kind, *conditions)
            .scalar_subquery()
        )

    found = select(next_owner().label("owner")).cte(f"of_{kind}", recursive=True)
    following = select(next_owner(Job.owner > found.c.owner)).where(found.c.owner.is_not(None))
    found = found.union_all(following)
    return select(found.c.owner).where(found.c.owner.is_not(None))
