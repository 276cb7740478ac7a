"""The logs of jobs that have ended, made shorter: they tell how it went, not each half second."""

from datetime import datetime, timedelta

from sqlalchemy import delete, select

from services.database import Database
from services.database.schema import Job, JobEvent, now
from services.jobs.lifecycle import TERMINAL

KEPT = 500  # events of progress for each job
AGE = timedelta(hours=1)  # after its end, when nobody follows a job any more
_BATCH = 500


def thin(database: Database, *, since: datetime | None = None) -> datetime:
    """Thin the logs of jobs that have ended after `since`, or of all.

    Of more than KEPT events of progress, evenly spread ones stay, the first and the last among
    them; all other events stay. `seq` keeps its values, with gaps between.

    Returns: what `since` is to be the next time.
    """
    until = now() - AGE
    ended = select(Job.id).where(Job.state.in_(TERMINAL), Job.finished < until)
    if since is not None:
        ended = ended.where(Job.finished >= since)
    with database.read() as session:
        # A log's last number is at least that of its lines.
        job_ids = session.scalars(ended.where(Job.last_seq > KEPT)).all()
    for job_id in job_ids:
        _thin(database, job_id)
    return until


def _thin(database: Database, job_id: str) -> None:
    told = JobEvent.job_id == job_id, JobEvent.kind == "progress"
    with database.read() as session:
        numbers = session.scalars(select(JobEvent.seq).where(*told).order_by(JobEvent.seq)).all()
    last = len(numbers) - 1
    if last < KEPT:
        return
    kept = {numbers[round(place * last / (KEPT - 1))] for place in range(KEPT)}
    gone = [number for number in numbers if number not in kept]
    for start in range(0, len(gone), _BATCH):
        some = gone[start : start + _BATCH]
        with database.write() as session:
            session.execute(delete(JobEvent).where(*told, JobEvent.seq.in_(some)))
