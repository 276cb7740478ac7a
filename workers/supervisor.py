"""A worker slot: claims jobs, runs each in a process of its own, and sees it end.

Never imports torch: it must stay small and be able to answer while a job computes.
"""

import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import OperationalError

from services import logs, resources, telemetry
from services.database.schema import Job, now
from services.devices import Device
from services.installation import Installation
from services.jobs import claims, workers
from services.jobs.claims import Claim
from services.jobs.lifecycle import State
from services.jobs.locks import Lock, Locks
from services.jobs.queues import QUEUES
from services.jobs.reaper import PATROL_SECONDS, SWEEP_SECONDS, Reaper
from services.jobs.workers import Slot
from services.processes import LIBRARY_ENVIRONMENT
from workers import STOP

# `-P`: a folder `services` where it is started is not ours.
JOB_COMMAND = (sys.executable, "-P", "-m", "workers.job")

_WATCH_SECONDS = 0.25
# A message is given up after so many locks that others held; the reaper announces again.
_LOCK_TRIES = 5
# After a job process that could not be started: other slots may take the job meanwhile.
_REST_SECONDS = 5.0
# A process that was asked to end and does not is killed: nothing but time is lost by it.
_GRACE_SECONDS = {"cancel": 1.0, "stop": 60.0, "stale": 1.0, "published": 60.0}
_log = logging.getLogger(__name__)


class Supervisor:
    """One slot. `run` is called with the id of a job that somebody announced."""

    def __init__(
        self,
        installation: Installation,
        reaper: Reaper,
        slot: Slot,
        device: Device,
        *,
        command: Sequence[str] = JOB_COMMAND,
    ) -> None:
        self._installation = installation
        self._settings = installation.settings
        self._reaper = reaper
        self._locks = Locks.of(installation.settings)
        self._slot = slot
        self._device = device
        self._command = command
        self._stopping = threading.Event()
        self._job_id: str | None = None
        self._resources: dict[str, Any] = {}

    def stop(self) -> None:
        """Have the running job save a checkpoint and go back into the queue; claim no other."""
        self._stopping.set()

    def run(self, job_id: str) -> None:
        """Run one job: of those that wait in the queue of `job_id`, the first in line."""
        with self._installation.database.read() as session:
            announced = session.get(Job, job_id)
        if announced is None or self._stopping.is_set():
            return
        taken = self._claim(QUEUES[announced.type])
        if taken is None:
            return
        claim, lock, job = taken
        with _observed(job):
            _log.info("job %s: attempt %d begins", job.id, job.attempt)
            try:
                self._show(claim.job_id)
                self._run(claim, lock)
            finally:
                self._show(None)

    def beat(self) -> None:
        """Show that the slot is alive and patrol as a reaper, until the process ends."""
        shown = -math.inf
        while True:
            try:
                if time.monotonic() - shown >= self._settings.heartbeat_seconds:
                    self._show(self._job_id)
                    shown = time.monotonic()
                self._reaper.patrol()
            except Exception as error:  # noqa: BLE001 - the database may be away for a while
                _log.warning("no patrol: %s", error)
            if self._stopping.wait(PATROL_SECONDS):
                return

    def clear_away(self) -> None:
        """Sweep what crashes have left now and then, until the process ends.

        Apart from `beat`, which must notice deaths while a long sweep is under way.
        """
        while not self._stopping.wait(SWEEP_SECONDS):
            try:
                self._reaper.sweep()
            except Exception as error:  # noqa: BLE001 - the next round makes up for it
                _log.warning("no sweep: %s", error)

    def watch_resources(self) -> None:
        """Measure what the host has left, until the process ends; `beat` shows it.

        Apart from `beat`, which must not wait for the driver of a GPU that is broken.
        """
        while True:
            try:
                self._resources = resources.measure(self._device, self._settings.home_folder)
            except Exception as error:  # noqa: BLE001 - a figure less is no reason to stop
                _log.warning("the host cannot be measured: %s", error)
            if self._stopping.wait(self._settings.heartbeat_seconds):
                return

    def leave(self) -> None:
        """Take the slot off the register."""
        with self._installation.database.write() as session:
            workers.leave(session, self._slot)

    def _claim(self, queue: str) -> tuple[Claim, Lock, Job] | None:
        database = self._installation.database
        refused = 0
        while refused < _LOCK_TRIES and not self._stopping.is_set():
            with database.read() as session:
                claim = claims.candidate(session, queue)
            if claim is None:
                break
            # Locked before it is claimed: from the claim on, a free lock means a dead process.
            lock = self._locks.take(claim)
            if lock is None:
                refused += 1
                continue  # another slot of this host is claiming it: look again
            try:
                with database.write() as session:
                    job = claims.claim(
                        session,
                        claim,
                        holder=self._slot.id,
                        host=self._slot.host,
                        lease=claims.first_lease(timedelta(seconds=self._settings.lease_seconds)),
                    )
            except BaseException:
                # The file stays: should the claim have been made after all, a free lock tells.
                lock.close()
                raise
            if job is not None:
                return claim, lock, job
            lock.discard()
        return None

    def _run(self, claim: Claim, lock: Lock) -> None:
        try:
            child, pipe = self._start(claim, lock)
        except Exception:
            self._release(claim, lost=False)  # nothing ran
            lock.path.unlink(missing_ok=True)
            self._stopping.wait(_REST_SECONDS)
            raise
        try:
            self._watch(child, claim, pipe)
        finally:
            os.close(pipe)  # a child that still runs ends with it
        _log.info("job %s: process ended with %s", claim.job_id, child.returncode)
        self._settle(claim)
        lock.path.unlink(missing_ok=True)

    def _start(self, claim: Claim, lock: Lock) -> tuple[subprocess.Popen[bytes], int]:
        """The job's process, and the end of its pipe that is written to."""
        try:
            reading, writing = os.pipe()
            try:
                return self._spawn(claim, lock, reading), writing
            except BaseException:
                os.close(writing)
                raise
            finally:
                os.close(reading)
        finally:
            lock.close()  # from here on it is the child's alone

    def _spawn(self, claim: Claim, lock: Lock, pipe: int) -> subprocess.Popen[bytes]:
        numbers = (claim.token, lock.descriptor, pipe, os.getpid())
        return subprocess.Popen(  # noqa: S603 - our own program
            [*self._command, claim.job_id, *map(str, numbers)],
            pass_fds=(lock.descriptor, pipe),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at a terminal is the worker's to handle
        )

    def _environment(self) -> dict[str, str]:
        cores = len(os.sched_getaffinity(0))
        threads = self._settings.threads or max(1, cores // max(1, self._settings.slots))
        return {
            **os.environ,
            **self._settings.environment(),
            **LIBRARY_ENVIRONMENT,
            "CUDA_VISIBLE_DEVICES": self._device.visible,
            "OMP_NUM_THREADS": str(threads),
            **telemetry.environment(),
        }

    def _watch(self, child: subprocess.Popen[bytes], claim: Claim, pipe: int) -> None:
        """Wait for the child's end; kill it if it should have ended and has not."""
        told: dict[str, float] = {}
        while True:
            try:
                child.wait(_WATCH_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            else:
                return
            reason = self._reason_to_end(claim)
            if reason is None:
                continue
            if reason == "stop" and reason not in told:
                with suppress(BrokenPipeError):  # it has just ended
                    os.write(pipe, STOP)
            since = told.setdefault(reason, time.monotonic())
            if time.monotonic() - since > _GRACE_SECONDS[reason]:
                _log.warning("job %s: its process is killed (%s)", claim.job_id, reason)
                child.kill()

    def _reason_to_end(self, claim: Claim) -> str | None:
        try:
            with self._installation.database.read() as session:
                job = session.get(Job, claim.job_id)
        except Exception as error:  # noqa: BLE001 - the database may be away for a while
            _log.warning("job %s: %s", claim.job_id, error)
            return "stop" if self._stopping.is_set() else None
        if job is None:
            return "stale"
        # By no other than this attempt, which clears away what it needed.
        published = job.state == State.SUCCEEDED and job.token == claim.token + 1
        if job.token != claim.token and not published:
            return "stale"
        if job.state == State.CANCELING:
            return "cancel"
        if self._stopping.is_set():
            return "stop"
        return "published" if published else None

    def _settle(self, claim: Claim) -> None:
        """Take the job back if its process left it, and have others know if it waits again."""
        job = self._release(claim, lost=not self._stopping.is_set())
        if job is not None:
            _log.warning("job %s lost its process; it is now %s", job.id, job.state)
        with self._installation.database.read() as session:
            job = session.get(Job, claim.job_id)
        if job is None:
            return
        telemetry.tell({"mdf.job.state": job.state})
        if job.state == State.QUEUED and job.announced is None:
            self._reaper.announce(job)

    def _release(self, claim: Claim, *, lost: bool) -> Job | None:
        with self._installation.database.write() as session:
            return claims.release(
                session, claim, lost=lost, max_attempts=self._settings.max_attempts
            )

    def _show(self, job_id: str | None) -> None:
        """Enter in the register what the slot does; a failure must not keep it from doing it."""
        self._job_id = job_id
        try:
            with self._installation.database.write() as session:
                workers.show(session, self._slot, job_id, self._resources)
        except OperationalError as error:
            # What cannot be written here, a job process cannot either: its lease, for one.
            self._reaper.let_leases_be()
            _log.warning("slot %s is not shown: %s", self._slot.id, error)
        except Exception as error:  # noqa: BLE001 - the next heartbeat shows it
            _log.warning("slot %s is not shown: %s", self._slot.id, error)


@contextmanager
def _observed(job: Job) -> Iterator[None]:
    """Log and trace the block as an attempt at `job`, which has just been claimed."""
    what: dict[str, str | int] = {"mdf.job.id": job.id, "mdf.job.type": job.type}
    if not job.run_seconds:
        telemetry.past("job.wait", what, begun=job.queued, ended=now(), parent=job.trace)
    what["mdf.job.attempt"] = job.attempt
    with (
        telemetry.span("job.attempt", what, parent=job.trace),
        logs.about(
            job_id=job.id,
            attempt=job.attempt,
            request_id=job.request_id,
            trace_id=telemetry.trace_id(),
        ),
    ):
        yield
