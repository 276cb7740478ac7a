"""What every worker does for all jobs: take back the dead, wake sleeping slots, clear away.

Any number of reapers may work at the same time: each step is settled by one UPDATE that
only one of them wins.
"""

import logging
import time
from datetime import timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from services.database.schema import Job, Worker, now
from services.installation import Installation
from services.jobs import claims
from services.jobs.claims import Claim
from services.jobs.dispatch import Dispatcher
from services.jobs.lifecycle import State
from services.jobs.locks import Locks, this_host
from services.jobs.queues import QUEUE_NAMES, types_in
from services.retention import orphans

PATROL_SECONDS = 0.5
_SWEEP_SECONDS = 300.0
_DRAFT_AGE = timedelta(hours=1)  # of a file that nobody is still writing
_log = logging.getLogger(__name__)


class Reaper:
    """Patrols one installation from one host."""

    def __init__(self, installation: Installation, dispatcher: Dispatcher) -> None:
        self._installation = installation
        self._settings = installation.settings
        self._dispatcher = dispatcher
        self._locks = Locks.of(installation.settings)
        self._sweep_due = time.monotonic() + _SWEEP_SECONDS

    def patrol(self) -> None:
        """One round, to be made every PATROL_SECONDS."""
        self.reclaim()
        self.expire()
        self.announce_waiting()
        if time.monotonic() >= self._sweep_due:
            self._sweep_due = time.monotonic() + _SWEEP_SECONDS
            self.sweep()

    def reclaim(self) -> list[str]:
        """End the attempts whose process is gone; returns the jobs' ids."""
        with self._installation.database.read() as session:
            held = session.execute(claims.held_jobs()).all()
        moment = now()
        return [
            row.id
            for row in held
            if (row.lease_expires is not None and row.lease_expires <= moment)
            or (row.lease_host == this_host() and self._locks.is_dead(Claim(row.id, row.token)))
            if self._release(Claim(row.id, row.token))
        ]

    def expire(self) -> None:
        """End the queued jobs whose deadline has passed."""
        with self._installation.database.read() as session:
            overdue = session.scalars(claims.overdue_jobs()).all()
        if overdue:
            with self._installation.database.write() as session:
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
        """Remove what crashes and deleted jobs have left: files, locks and dead workers' rows."""
        with self._installation.database.read() as session:
            held = [Claim(row.id, row.token) for row in session.execute(claims.held_jobs())]
        self._locks.sweep(held)
        orphans.sweep(self._installation)
        self._installation.blobs.sweep_drafts(_DRAFT_AGE)
        stale = now() - timedelta(seconds=max(60.0, 2 * self._settings.lease_seconds))
        with self._installation.database.write() as session:
            session.execute(delete(Worker).where(Worker.last_seen < stale))

    def _release(self, claim: Claim) -> bool:
        with self._installation.database.write() as session:
            job = claims.release(
                session, claim, lost=True, max_attempts=self._settings.max_attempts
            )
        if job is None:
            return False
        _log.warning("job %s lost its process; it is now %s", job.id, job.state)
        if job.state == State.QUEUED:
            self.announce(job)
        return True

    def announce(self, job: Job) -> None:
        """Publish a queued job's id, and note when; left for later if the broker is away."""
        if not self._dispatcher.ready():
            return
        with self._installation.database.write() as session:
            _mark_announced(session, job)
        self._dispatcher.announce(job.id, job.type)

    def _announce_waiting(self, queue: str) -> int:
        queued = (Job.state == State.QUEUED, Job.type.in_(types_in(queue)))
        last_called = func.coalesce(Job.announced, Job.queued)
        before = now() - timedelta(seconds=self._settings.redispatch_seconds)
        with self._installation.database.read() as session:
            count = session.scalar(select(func.count()).where(*queued)) or 0
            waiting = self._dispatcher.waiting(queue) if count else None
            if waiting is None or waiting >= count:
                return 0
            overdue = session.scalars(
                select(Job)
                .where(*queued, last_called <= before)
                .order_by(Job.priority.desc(), Job.queued, Job.id)
                .limit(count - waiting)
            ).all()
        announced = 0
        for job in overdue:
            with self._installation.database.write() as session:
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
