"""Whose turn it is: owners take turns at a queue, so that nobody's many jobs hold up another's one.

A slot serves the owner who has the fewest jobs of that queue running; of several such, the one
whose turn was longest ago. An owner who has as many running as the job in front allows, in
all queues together, is passed over. Within an owner's line, the highest priority goes first, then
the oldest; priorities of other owners do not matter.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    Subquery,
    and_,
    case,
    func,
    literal_column,
    not_,
    or_,
    select,
    union,
    union_all,
)
from sqlalchemy.orm import Session

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
    types = types_in(queue)
    counts = (
        select(
            Job.owner,
            func.sum(case((Job.type.in_(types), 1), else_=0)).label("running"),
            func.count().label("active"),
        )
        .where(Job.state.in_(HELD))
        .group_by(Job.owner)
        .subquery()
    )
    waiting = _waiting_owners(queue)
    running = func.coalesce(counts.c.running, 0)
    query = (
        select(waiting.c.owner, running, func.coalesce(counts.c.active, 0), Share.served)
        .outerjoin(counts, counts.c.owner == waiting.c.owner)
        .outerjoin(Share, and_(Share.owner == waiting.c.owner, Share.queue == queue))
        .order_by(running, Share.served.asc().nulls_first(), waiting.c.owner)
    )
    return [Owner(*row) for row in session.execute(query)]


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
    session.merge(Share(queue=QUEUES[job.type], owner=job.owner, served=now()))
    session.flush()


def positions(session: Session, jobs: Iterable[Job]) -> dict[str, int]:
    """Places of queued jobs among those of all owners in their queues, the next being 1.

    As if no job came and none ended from now on; those for whose start another one of their
    owner must end come after all others.
    """
    places: dict[str, int] = {}
    lines: dict[str, list[_Line]] = {}
    for job in jobs:
        queue = QUEUES[job.type]
        if queue not in lines:
            lines[queue] = _lines(session, queue)
        places[job.id] = 1 + _ahead(lines[queue], job.owner, _ahead_of_own(session, job))
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
    # Each type by itself: so the index of the lines serves.
    each = union_all(
        *(
            select(Job.owner, func.count().label("waiting"), func.min(Job.running_cap).label("cap"))
            .where(_WAITS, Job.type == kind)
            .group_by(Job.owner)
            for kind in types_in(queue)
        )
    ).subquery()
    waiting = select(
        each.c.owner, func.sum(each.c.waiting).label("waiting"), func.min(each.c.cap).label("cap")
    ).group_by(each.c.owner)
    rows = {row.owner: row for row in session.execute(waiting)}
    found = [owner for owner in owners(session, queue) if owner.name in rows]
    by_turn = sorted(found, key=lambda owner: (owner.served is not None, owner.served, owner.name))
    places = {owner.name: place for place, owner in enumerate(by_turn)}
    return [
        _Line(
            owner=owner,
            place=places[owner.name],
            waiting=row.waiting,
            free=row.waiting if row.cap is None else max(0, row.cap - owner.active),
        )
        for owner in found
        for row in (rows[owner.name],)
    ]


def _ahead_of_own(session: Session, job: Job) -> int:
    """How many jobs of the same owner go before this one."""
    before = or_(
        Job.priority > job.priority,
        and_(Job.priority == job.priority, Job.queued < job.queued),
        and_(Job.priority == job.priority, Job.queued == job.queued, Job.id < job.id),
    )
    counts = [
        select(func.count()).where(_WAITS, Job.type == kind, Job.owner == job.owner, before)
        for kind in types_in(QUEUES[job.type])
    ]
    return sum(session.scalars(union_all(*counts)))


def _front(kind: str, owner: str) -> Select[str, int, int, datetime, int | None]:
    waits = and_(_WAITS, Job.type == kind, Job.owner == owner, not_(overdue(now())))
    highest = select(Job.priority).where(waits).order_by(Job.priority.desc()).limit(1)
    return (
        select(Job.id, Job.token, Job.priority, Job.queued, Job.running_cap)
        .where(waits, Job.priority == highest.scalar_subquery())
        .order_by(Job.queued, Job.id)
        .limit(1)
    )


def _waiting_owners(queue: str) -> Subquery:
    return union(*map(_owners_of, types_in(queue))).subquery()


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
