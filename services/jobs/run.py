"""What a job's computation sees of the service: `services.run.Run`, fenced by the claim.

Reports are gathered and written by a pulse, one transaction every half second at most,
so that the computation does not wait for the database. Each transaction first renews the
lease in an UPDATE that names the token: a run that has lost its job writes nothing.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from services import telemetry
from services.blobs import BlobDamagedError, BlobMissingError
from services.database import is_database_full
from services.database.schema import Job, JobEvent, JobSample, now
from services.errors import DiskFullError
from services.ids import new_id
from services.installation import Installation
from services.jobs import checkpoints, claims, lifecycle, metrics
from services.jobs.claims import Claim, StaleRunError
from services.jobs.failures import DeadlineExceededError
from services.jobs.progress import Progress
from services.run import Canceled, Paused, Signal

Publish = Callable[[Session, Job], None]

PULSE_SECONDS = 0.5
_PATIENCE_SECONDS = 60.0  # with a database that is away
_BETWEEN_TELLING_SECONDS = 60.0  # of a full disk
# Between two pulses: then the whole process was stopped, with its machine perhaps.
_AWAY_SECONDS = 60.0
_log = logging.getLogger(__name__)


class StalledError(Exception):
    """The computation hangs: its process must end, and another attempt is made."""


class JobRun:
    """One attempt at one job; `stopping` is set when its worker is being stopped."""

    def __init__(self, installation: Installation, claim: Claim, stopping: threading.Event) -> None:
        self.claim = claim
        self._installation = installation
        self._settings = installation.settings
        self._progress = Progress()
        self._stopping = stopping
        self._stale = False
        self._began = self._polled = False
        self._concluding = False
        # Between the computation's thread and the pulse's.
        self._writing = threading.Lock()
        self._gathering = threading.Lock()
        self._gathered = _Gathered()
        self._position: dict[str, int] = {}
        self._latest_values: dict[str, float] = {}

        self._renewed = self._stepped = self._checked = time.monotonic()
        self._progress_stored = 0.0
        self._checkpoint_number = self._sample_number = 0
        self._asked_to_save = False  # at the last poll
        self._told_of_disk = -math.inf
        job = self._write_patiently()
        self.ids = {
            "request_id": job.request_id,
            "attempt": job.attempt,
            "worker": job.lease_holder,
        }
        # The more attempts were lost, the sooner a step forward is kept.
        first = math.ldexp(self._settings.checkpoint_seconds, -job.lost_attempts)
        self._checkpoint_due = self._renewed + first
        self._desired = job.desired_state
        self._deadline = job.deadline
        self._checkpoint = job.checkpoint
        self._saved_position = self._find_saved_position()
        checkpoints.sweep(installation.blobs, claim, keep=job.checkpoint)

    # What the computation calls.

    def load_checkpoint(self) -> bytes | None:
        """The last checkpoint of this or an earlier attempt; none if it is not what was saved."""
        if self._checkpoint is None:
            return None
        try:
            return self._installation.blobs.get_sealed(self._checkpoint)
        except BlobMissingError:
            fault = "missing"
        except BlobDamagedError:
            fault = "damaged"
        self._forget_checkpoint(f"the checkpoint is {fault}: the job begins anew")
        return None

    def save_checkpoint(self, state: bytes) -> None:
        """Keep `state` durably: a new file first, then the row, then the old file goes."""
        with telemetry.span("job.checkpoint", {"mdf.checkpoint.bytes": len(state)}):
            self._save_checkpoint(state)

    def _save_checkpoint(self, state: bytes) -> None:
        self._checkpoint_number += 1
        position = self._position
        key = checkpoints.put(
            self._installation.blobs,
            self.claim.job_id,
            self.claim.token,
            self._checkpoint_number,
            state,
        )

        def store(session: Session) -> None:
            job = session.get_one(Job, self.claim.job_id)
            job.checkpoint, job.checkpoint_at, job.checkpoint_size = key, now(), len(state)
            if position != self._saved_position:
                job.lost_attempts = 0
            self._record(session, "checkpoint", position)

        self._write_patiently(store)
        self._saved_position = position
        if self._checkpoint is not None:
            self._installation.blobs.delete(self._checkpoint)
        self._checkpoint = key
        self._checkpoint_due = time.monotonic() + self._settings.checkpoint_seconds

    def _forget_checkpoint(self, message: str) -> None:
        def forget(session: Session) -> None:
            job = session.get_one(Job, self.claim.job_id)
            job.checkpoint = job.checkpoint_at = job.checkpoint_size = None
            self._record(session, "log", {"message": message})

        damaged, self._checkpoint = self._checkpoint, None
        self._write_patiently(forget)
        if damaged is not None:  # this one alone: a later attempt may have saved others by now
            self._installation.blobs.delete(damaged)

    def poll(self) -> Signal:
        """What to do now; the pulse keeps the answer fresh."""
        self._began, self._polled = self._polled, True  # the first comes before the first step
        self.alive()
        if self._stale:
            raise StaleRunError(self.claim.job_id)
        if self._desired == "cancel":
            return Signal.CANCEL
        if self._deadline is not None and now() >= self._deadline:
            raise DeadlineExceededError
        if self._desired == "pause" or self._stopping.is_set():
            return Signal.PAUSE
        # Never one checkpoint straight after another while finishing: where an iteration
        # outlasts the time between them, one is always due.
        finishing = self._desired == "finish"
        if time.monotonic() >= self._checkpoint_due and not (finishing and self._asked_to_save):
            self._asked_to_save = True
            return Signal.CHECKPOINT
        self._asked_to_save = False
        return Signal.FINISH if finishing else Signal.CONTINUE

    def alive(self) -> None:
        """The computation does not hang."""
        self._stepped = time.monotonic()

    def plan(self, costs: Sequence[float]) -> None:
        """Relative cost of an iteration in each scale, for the fraction and the ETA."""
        self._progress.plan(costs)

    def progress(self, *, scale: int, scales: int, step: int, steps: int) -> None:
        """Where the computation is."""
        with self._gathering:
            self._position = {"scale": scale, "scales": scales, "step": step, "steps": steps}
            self._gathered.position = self._position

    def metrics(self, *, scale: int, step: int, values: dict[str, float]) -> None:
        """Named values at an iteration."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        with self._gathering:
            self._gathered.values[scale, step] = finite
            # Some values, such as those of a validation, are not there at every iteration.
            self._latest_values = self._latest_values | finite

    def sample(self, *, scale: int, step: int, kind: str, png: bytes) -> None:
        """A picture to look at; one made again after a resume replaces the old.

        As checkpoints, each is a new file, and one that is replaced goes after the row's change:
        an attempt that has lost its job, and does not know it yet, replaces nothing.
        """
        self._sample_number += 1
        blobs, (job_id, token) = self._installation.blobs, (self.claim.job_id, self.claim.token)
        # With an `a` no name is one of a version that named the files by scale and step.
        stored = blobs.put(f"samples/{job_id}/a{token}-{self._sample_number}-{kind}.png", png)
        named: set[str] = set()  # by the row, so far

        def store(session: Session) -> None:
            place = {"job_id": job_id, "scale": scale, "step": step, "kind": kind}
            sample = session.scalar(select(JobSample).filter_by(**place))
            if sample is None:
                sample = JobSample(id=new_id("smp"), **place, created=now())
                session.add(sample)
            else:
                named.add(sample.blob)
            sample.blob, sample.size = stored.blob, stored.size
            content = {"sample_id": sample.id, "scale": scale, "step": step, "kind": kind}
            self._record(session, "sample", content)

        try:
            self._write_patiently(store)
        except StaleRunError:
            self._discard_sample(stored.blob)
            raise
        blobs.delete_all(sorted(named - {stored.blob}))

    def _discard_sample(self, key: str) -> None:
        """Remove a picture that came too late: its job may have been deleted with all its files.

        Unless a row names it: the commit went through before whose answer got lost.
        """
        with self._installation.database.read() as session:
            is_named = session.scalar(select(JobSample.id).where(JobSample.blob == key))
        if is_named is None:
            self._installation.blobs.delete(key)

    def log(self, message: str) -> None:
        """A line for the job's event log."""
        content = {"message": message}
        self._write_patiently(lambda session: self._record(session, "log", content))

    # What the job process calls.

    def wait_for_space(self, error: DiskFullError) -> None:
        """Wait a moment because the disk is full: the job keeps its place and what it has done.

        Raises: what the job ends with if something else is asked of it, and `error` where others
        would wait too, in the transaction that ends it.
        """
        if self._concluding:
            raise error
        if time.monotonic() - self._told_of_disk > _BETWEEN_TELLING_SECONDS:
            self._told_of_disk = time.monotonic()
            _log.warning("job %s waits for space: %s", self.claim.job_id, error.message)
            content = {"message": f"waits for space on the disk: {error.message}"}
            with suppress(OperationalError):  # the database may lie on that disk
                self._write(lambda session: self._record(session, "log", content))
        time.sleep(PULSE_SECONDS)
        match self.poll():
            case Signal.CANCEL:
                raise Canceled
            case Signal.PAUSE:
                raise Paused

    def pulse(self) -> None:
        """Write what has been gathered, renew the lease when due, and see what is desired.

        Raises: StaleRunError if the job has been taken from this run, StalledError if the
        computation has not asked what to do for too long.
        """
        if self._concluding:
            return
        self._check_stall()
        try:
            due = time.monotonic() - self._renewed >= self._settings.heartbeat_seconds
            job = self._write() if due or self._has_gathered() else self._look()
        except StaleRunError:
            if self._concluding:
                return
            self._stale = True
            raise
        self._desired = job.desired_state

    def publish(self, publish: Publish) -> None:
        """End the job with a result: its rows and the final state are one transaction."""

        def conclude(session: Session) -> None:
            publish(session, session.get_one(Job, self.claim.job_id))
            if claims.succeed(session, self.claim) is None:
                raise Canceled

        with telemetry.span("job.publish", {}):
            self._conclude(conclude)

    def fail(self, error: dict[str, Any]) -> None:
        """End the job with an error."""
        self._conclude(lambda session: claims.fail(session, self.claim, error))

    def give_back(self) -> None:
        """End the attempt as it was asked to: paused, canceled, or back into the queue."""
        self._conclude(
            lambda session: claims.release(session, self.claim, lost=False, max_attempts=1)
        )

    def _conclude(self, write: Callable[[Session], object]) -> None:
        self._concluding = True  # the token is about to move, by this run's own hand
        self._write_patiently(write)

    def _find_saved_position(self) -> dict[str, Any] | None:
        """Where the computation was at the last checkpoint."""
        query = (
            select(JobEvent.content)
            .where(JobEvent.job_id == self.claim.job_id, JobEvent.kind == "checkpoint")
            .order_by(JobEvent.seq.desc())
            .limit(1)
        )
        with self._installation.database.read() as session:
            return session.scalar(query)

    def _check_stall(self) -> None:
        moment = time.monotonic()
        if moment - self._checked > _AWAY_SECONDS:
            self.alive()
        self._checked = moment
        seconds = moment - self._stepped
        if seconds > self._settings.stall_seconds:
            said = f"no step for {seconds:.0f} s: the process is ended, and another goes on"
            content = {"message": said}
            with suppress(OperationalError):  # with the database away, its end is what counts
                self._write(lambda session: self._record(session, "log", content))
            raise StalledError(said)

    def _look(self) -> Job:
        with self._installation.database.read() as session:
            job = session.get(Job, self.claim.job_id)
            if job is None or job.token != self.claim.token:
                raise StaleRunError(self.claim.job_id)
            return job

    def _write_patiently(self, write: Callable[[Session], object] | None = None) -> Job:
        """Write, and try again for a while if the database is away or busy; on if it is full."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return self._write(write)
            except OperationalError as error:
                if time.monotonic() > end and not is_database_full(error):
                    raise
                self.alive()
                _log.warning("job %s: the database is away: %s", self.claim.job_id, error.orig)
                time.sleep(PULSE_SECONDS)

    def _write(self, write: Callable[[Session], object] | None = None) -> Job:
        """One fenced transaction: the lease, what has been gathered, and `write`."""
        with self._writing:
            gathered = self._take_gathered()
            moment = time.monotonic()
            lease = timedelta(seconds=self._settings.lease_seconds)
            if not self._began:
                lease = claims.first_lease(lease)
            try:
                with self._installation.database.write() as session:
                    job = claims.renew(session, self.claim, lease=lease, ran=moment - self._renewed)
                    metrics.store(session, job.id, gathered.values)
                    if gathered.position is not None:
                        self._store_progress(session, job, gathered.position)
                        self._progress_stored = moment
                    if write is not None:
                        write(session)
            except BaseException:
                self._put_back(gathered)
                raise
            self._renewed = moment
            return job

    def _store_progress(self, session: Session, job: Job, position: dict[str, int]) -> None:
        job.progress = self._progress.at(**position) | {"metrics": self._latest_values}
        session.flush()
        self._record(session, "progress", job.progress)

    def _record(self, session: Session, kind: str, content: dict[str, Any]) -> None:
        lifecycle.record(session, self.claim.job_id, kind, content)

    def _has_gathered(self) -> bool:
        return bool(self._gathered.values) or self._gathered.position is not None

    def _take_gathered(self) -> "_Gathered":
        recent = time.monotonic() - self._progress_stored < PULSE_SECONDS
        with self._gathering:
            taken, self._gathered = self._gathered, _Gathered()
            if recent and not self._concluding:
                taken.position, self._gathered.position = None, taken.position
        return taken

    def _put_back(self, older: "_Gathered") -> None:
        with self._gathering:
            newer = self._gathered
            self._gathered = _Gathered(
                values=older.values | newer.values, position=newer.position or older.position
            )


@dataclass
class _Gathered:
    """Reports that have not been written."""

    values: metrics.Values = field(default_factory=dict)
    position: dict[str, int] | None = None
