"""What every worker does for all jobs: take back the dead, wake sleeping slots, clear away.

Any number of reapers may work at the same time: each step is settled by one UPDATE that
only one of them wins.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from services.database.schema import Job, Worker, now
from services.installation import Installation
from services.jobs import claims, deaths
from services.jobs.claims import Claim
from services.jobs.dispatch import Dispatcher
from services.jobs.lifecycle import State
from services.jobs.locks import Locks
from services.jobs.queues import QUEUE_NAMES, types_in
from services.retention import expiry, orphans, thinning

PATROL_SECONDS = 0.5
SWEEP_SECONDS = 300.0
# With no message left in a queue, the first in line is announced after so long.
_QUIET = timedelta(seconds=1)
# Each takes a transaction and a connection; the reaper has other things to do.
_ANNOUNCED_AT_ONCE = 100
# In one transaction, which keeps others from writing; they have their turn until the next patrol.
_ENDED_AT_ONCE = 50
# Between two patrols: then this process was stopped, with its machine perhaps.
_AWAY = timedelta(seconds=15)
# The clocks of hosts may differ by less.
_AHEAD = timedelta(hours=1)
_FILES_SECONDS = 3600.0  # between looks at all files there are


class Reaper:
    """Patrols one installation from one host."""

    def __init__(self, installation: Installation, dispatcher: Dispatcher) -> None:
        self._installation = installation
        self._settings = installation.settings
        self._dispatcher = dispatcher
        self._locks = Locks.of(installation.settings)
        self._leases_count_from = -math.inf
        self._patrolled: datetime | None = None
        self._files_due = -math.inf
        self._thinned: datetime | None = None  # logs of jobs that ended before

    def patrol(self) -> None:
        """One round, to be made every PATROL_SECONDS."""
        if self._was_away():
            self.let_leases_be()
        try:
            self.reclaim()
            self.expire()
            self.announce_waiting()
        except OperationalError:
            # Nobody could renew a lease either, with the database away or the disk full.
            self.let_leases_be()
            raise
        finally:
            self._patrolled = now()

    def reclaim(self) -> list[str]:
        """End the attempts whose process is gone; returns the jobs' ids."""
        leases_count = time.monotonic() >= self._leases_count_from
        with self._asking():
            ended = deaths.take_back(self._installation, leases_count=leases_count)
        for job in ended:
            if job.state == State.QUEUED and not self.announce(job):
                break  # the broker is away: they are announced as others that wait
        return [job.id for job in ended]

    def let_leases_be(self) -> None:
        """Leases count once whoever lives has had the time to renew them."""
        self._leases_count_from = time.monotonic() + self._settings.lease_seconds

    def expire(self) -> None:
        """End queued jobs whose deadline has passed: a few in each patrol."""
        with self._read() as session:
            overdue = session.scalars(claims.overdue_jobs(_ENDED_AT_ONCE)).all()
        if overdue:
            with self._write() as session:
                for job_id in overdue:
                    claims.expire(session, job_id)

    def announce_waiting(self) -> int:
        """Announce again what has waited long without a message; returns how many.

        While slots are busy their messages wait on the broker, one for each queued job, and
        nothing is due. Only messages that are missing there are made up for: the broker's
        queue never grows beyond the number of queued jobs.
        """
        return sum(self._announce_waiting(queue) for queue in QUEUE_NAMES)

    def sweep(self) -> None:
        """Remove what is old, and what crashes have left: files, locks, dead workers' rows."""
        with self._installation.database.read() as session:
            held = [Claim(row.id, row.token) for row in session.execute(claims.held_jobs())]
        self._locks.sweep(held)
        moment = now()
        silence = timedelta(seconds=max(60.0, 2 * self._settings.lease_seconds))
        # So far in the future: of before the clock was set back.
        unseen = or_(Worker.last_seen < moment - silence, Worker.last_seen > moment + _AHEAD)
        with self._installation.database.write() as session:
            session.execute(delete(Worker).where(unseen))
        expiry.expire(self._installation)
        self._thinned = thinning.thin(self._installation.database, since=self._thinned)
        if time.monotonic() >= self._files_due:
            self._files_due = time.monotonic() + _FILES_SECONDS
            orphans.sweep(self._installation)

    def announce(self, job: Job) -> bool:
        """Publish a queued job's id, and note when; False, and left for later, with no broker."""
        if not self._dispatcher.ready():
            return False
        with self._write() as session:
            _mark_announced(session, job)
        return self._dispatcher.announce(job.id, job.type)

    def _was_away(self) -> bool:
        """Whether this process, with its machine perhaps, has just been stopped for long.

        Then those who hold leases may have been, too. By the time of day: a machine that sleeps
        counts no other. Where the clock was set instead, forward or back, the leases are of the
        old time, and who holds them has to renew them as well.
        """
        if self._patrolled is None:
            return False
        return abs(now() - self._patrolled) > _AWAY

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """In the block the database is asked: after a silence of it leases do not count at once."""
        asked = time.monotonic()
        yield
        if time.monotonic() - asked >= deaths.silence(self._settings):
            self.let_leases_be()

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with self._asking(), self._installation.database.read() as session:
            yield session

    @contextmanager
    def _write(self) -> Iterator[Session]:
        with self._asking(), self._installation.database.write() as session:
            yield session

    def _announce_waiting(self, queue: str) -> int:
        queued = (Job.state == State.QUEUED, Job.type.in_(types_in(queue)))
        last_called = func.coalesce(Job.announced, Job.queued)
        moment = now()
        before = moment - timedelta(seconds=self._settings.redispatch_seconds)
        with self._read() as session:
            count = session.scalar(select(func.count()).where(*queued)) or 0
        waiting = self._dispatcher.waiting(queue) if count else None
        if waiting is None or waiting >= count:
            return 0
        with self._read() as session:
            first = claims.candidate(session, queue)
            if first is None:
                return 0  # their owners are at their caps
            # Nobody calls so far in the future: the clock was set back since.
            future = moment + timedelta(seconds=self._settings.redispatch_seconds)
            overdue = session.scalars(
                select(Job)
                .where(*queued, or_(last_called <= before, last_called > future))
                .order_by(Job.priority.desc(), Job.queued, Job.id)
                .limit(min(count - waiting, _ANNOUNCED_AT_ONCE))
            ).all()
            if not overdue and waiting == 0:
                # Its message was read while its owner was at the cap; by now it may start.
                told = last_called <= moment - _QUIET
                overdue = session.scalars(select(Job).where(Job.id == first.job_id, told)).all()
        announced = 0
        for job in overdue:
            with self._write() as session:
                ours = _mark_announced(session, job)
            if ours and not self._dispatcher.announce(job.id, job.type):
                break
            announced += ours
        return announced


def _mark_announced(session: Session, job: Job) -> bool:
    """Note that the job's id is being published; False if another reaper was quicker."""
    result = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.state == State.QUEUED)
        .where(Job.announced.is_not_distinct_from(job.announced))
        .values(announced=now())
        .returning(Job.id)
    )
    return result.one_or_none() is not None
