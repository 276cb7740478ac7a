"""Attempts whose process is gone: ended by whoever notices first."""

import logging
import time

from services import logs
from services.database.schema import Job, now
from services.installation import Installation
from services.jobs import claims
from services.jobs.claims import Claim
from services.jobs.locks import Locks, this_host
from services.settings import Settings

_log = logging.getLogger(__name__)


def silence(settings: Settings) -> float:
    """Seconds without an answer of the database in which leases of the living may run out."""
    return (settings.lease_seconds - settings.heartbeat_seconds) / 2


def take_back(installation: Installation, *, leases_count: bool = True) -> list[Job]:
    """End the attempts whose lease has run out, and those of this host whose process is gone.

    Args:
        leases_count: false while nobody may have been able to renew a lease.

    Returns: their jobs, as they stand now. Nobody has been told of those that wait again.
    """
    settings = installation.settings
    locks = Locks.of(settings)
    asked = time.monotonic()
    with installation.database.read() as session:
        held = session.execute(claims.held_jobs()).all()
    leases_count = leases_count and time.monotonic() - asked < silence(settings)
    moment = now()
    ended = []
    for row in held:
        claim = Claim(row.id, row.token)
        overdue = leases_count and row.lease_expires is not None and row.lease_expires <= moment
        gone = row.lease_host == this_host() and locks.is_dead(claim)
        if overdue or gone:
            with installation.database.write() as session:
                job = claims.release(
                    session,
                    claim,
                    lost=True,
                    max_attempts=settings.max_attempts,
                    unless_renewed=not gone,
                )
            if job is not None:
                with logs.about(job_id=job.id, request_id=job.request_id):
                    _log.warning("job %s lost its process; it is now %s", job.id, job.state)
                ended.append(job)
    return ended
