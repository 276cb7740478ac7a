"""Attempts whose process is gone: ended by whoever notices first."""

import logging
from datetime import timedelta

from services import logs
from services.database.schema import Job, now
from services.installation import Installation
from services.jobs import claims
from services.jobs.claims import Claim
from services.jobs.locks import Locks, this_host

# What ends so much later than any lease that is given now: the clock was set back since.
_NEVER = timedelta(hours=1)
_log = logging.getLogger(__name__)


def take_back(installation: Installation, *, leases_count: bool = True) -> list[Job]:
    """End the attempts whose lease has run out, and those of this host whose process is gone.

    Args:
        leases_count: false while nobody may have been able to renew a lease.

    Returns: their jobs, as they stand now. Nobody has been told of those that wait again.
    """
    settings = installation.settings
    locks = Locks.of(settings)
    with installation.database.read() as session:
        held = session.execute(claims.held_jobs()).all()
    moment = now()
    latest = moment + timedelta(seconds=settings.lease_seconds) + _NEVER
    ended = []
    for row in held:
        claim = Claim(row.id, row.token)
        lease = row.lease_expires
        overdue = leases_count and lease is not None and not moment < lease <= latest
        if overdue or (row.lease_host == this_host() and locks.is_dead(claim)):
            with installation.database.write() as session:
                job = claims.release(session, claim, lost=True, max_attempts=settings.max_attempts)
            if job is not None:
                with logs.about(job_id=job.id, request_id=job.request_id):
                    _log.warning("job %s lost its process; it is now %s", job.id, job.state)
                ended.append(job)
    return ended
