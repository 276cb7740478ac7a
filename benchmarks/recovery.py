"""How soon a killed job goes on: `python benchmarks/recovery.py [KILLS]`.

Kills the job process and the worker of a counting job by turns, in the middle of its run,
and measures from the kill to the claim being taken back (detection), and to the first
report of the next attempt's process (recovery).
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from sqlalchemy import select

from services.access import LOCAL
from services.database.schema import Artifact, Job
from services.embedded.broker import EmbeddedRedis
from services.images import catalogue
from services.installation import Installation
from services.jobs.dispatch import Dispatcher
from services.jobs.submission import submit
from services.phase1.recipe import DiscriminatorTraining
from services.settings import Settings

WORKER = Path(__file__).parents[1] / "tests" / "workers" / "counting_worker.py"


class Recovery:
    """A house with two worker slots, and jobs that are killed in it."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(
            home=home, disk_floor_bytes=0, checkpoint_seconds=0.5, max_attempts=1000
        )
        self.installation = Installation.open(self.settings)
        self.installation.database.migrate()
        self.broker = EmbeddedRedis(self.settings.broker_socket, home / "redis")
        self.broker.start()
        self.dispatcher = Dispatcher(self.settings)
        self.workers = [self.worker(slot) for slot in range(2)]

    def worker(self, slot: int) -> subprocess.Popen[bytes]:
        """A worker slot."""
        return subprocess.Popen(
            [sys.executable, str(WORKER), "--slot", str(slot)],
            env={**os.environ, **self.settings.environment()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def submit(self, steps: int) -> str:
        """A job that counts, 50 steps a second."""
        pixels = np.zeros((96, 96, 3), np.uint8)
        with self.installation.database.write() as session:
            blobs = self.installation.blobs
            decoded = catalogue.from_pixels(pixels, {})
            image, _ = catalogue.add(session, blobs, decoded, name="seed", caller=LOCAL)
            spec = DiscriminatorTraining.model_validate(
                {"seed_image_ids": [image.id], "task": {"kind": "sisr"}, "preset": "quick"}
            )
            job = submit(session, spec, caller=LOCAL, name=f"steps={steps}")
        self.dispatcher.announce(job.id, job.type)
        return job.id

    def job(self, job_id: str) -> Job:
        """The job's row."""
        with self.installation.database.read() as session:
            return session.get_one(Job, job_id)

    def wait(self, job_id: str, condition) -> float:
        """Seconds until the job meets the condition."""
        began = time.monotonic()
        while not condition(self.job(job_id)):
            time.sleep(0.005)
        return time.monotonic() - began

    def process(self, job_id: str) -> psutil.Process:
        """The job's process."""
        while True:
            for process in psutil.process_iter(["cmdline"]):
                if job_id in (process.info["cmdline"] or ()):
                    return process

    def kill(self, job_id: str, *, whole_worker: bool) -> tuple[float, float]:
        """Kill the running attempt; returns the seconds to its detection and recovery."""
        self.wait(job_id, lambda job: job.state == "running" and job.run_seconds > 0)
        time.sleep(0.7)
        token = self.job(job_id).token
        victim = self.process(job_id)
        if whole_worker:
            parent = victim.ppid()
            slot = [worker.pid for worker in self.workers].index(parent)
            os.kill(parent, signal.SIGKILL)
            self.workers[slot].wait()
        else:
            victim.kill()
        detection = self.wait(job_id, lambda job: job.token > token)
        seconds = self.job(job_id).run_seconds
        rest = self.wait(job_id, lambda job: job.token > token + 1 and job.run_seconds != seconds)
        if whole_worker:
            self.workers[slot] = self.worker(slot)
            time.sleep(2.5)  # until it takes messages
        return detection, detection + rest

    def close(self) -> None:
        """Stop everything."""
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait()
        self.broker.stop()
        self.installation.close()


def main(kills: int) -> None:
    """Kill, measure, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        house = Recovery(Path(folder))
        job_id = house.submit(steps=2_000_000)
        for what, whole_worker in (("job process", False), ("worker, job with it", True)):
            figures = [house.kill(job_id, whole_worker=whole_worker) for _ in range(kills)]
            for name, values in zip(
                ("detection", "recovery"), zip(*figures, strict=True), strict=True
            ):
                ordered = sorted(values)
                p95 = ordered[int(0.95 * (len(ordered) - 1))]
                print(
                    f"{what}: {kills} kills, {name} p50 {statistics.median(ordered):.2f} s, "
                    f"p95 {p95:.2f} s, max {ordered[-1]:.2f} s"
                )
        with house.installation.database.read() as session:
            assert not session.scalars(select(Artifact)).all()
        house.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
