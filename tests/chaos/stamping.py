"""A worker slot whose jobs stamp all that they write with the token of their attempt.

Given `--slot` it is the slot, otherwise the job process. What a job does stands in its name:
`steps=50 step_seconds=0.02 samples=5 stubborn=1`.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.orm import Session

from services.database.schema import Job
from services.installation import Installation
from services.jobs import artifacts
from services.jobs.run import JobRun
from services.run import Canceled, Paused, Signal


def stamp(installation: Installation, job: Job, run: JobRun) -> Callable[[Session, Job], None]:
    """Note at each step which attempt made it; publish the notes, [[step, token], …].

    With `samples`, the note of each step whose number that divides is a sample too.
    """
    options = {name: float(value) for name, value in (word.split("=") for word in job.name.split())}
    steps = int(options["steps"])
    state = run.load_checkpoint()
    made: list[list[int]] = [] if state is None else json.loads(state)
    for step in range(len(made) + 1, steps + 1):
        time.sleep(options.get("step_seconds", 0.02))
        made.append([step, run.claim.token])
        run.metrics(scale=1, step=step, values={"token": float(run.claim.token)})
        run.progress(scale=1, scales=1, step=step, steps=steps)
        if step % options.get("samples", math.inf) == 0:
            run.sample(scale=1, step=step, kind="stamp", png=json.dumps(made[-1]).encode())
        asked = run.poll()
        if asked is Signal.CANCEL and "stubborn" not in options:
            raise Canceled
        if asked in (Signal.CHECKPOINT, Signal.PAUSE):
            run.save_checkpoint(json.dumps(made).encode())
        if asked is Signal.PAUSE:
            raise Paused
    key = artifacts.blob_key(job, "stamps")
    stored = installation.blobs.put(key, json.dumps(made).encode())

    def publish(session: Session, job: Job) -> None:
        artifacts.publish(session, job, kind="stamps", media_type="application/json", file=stored)

    return publish


if __name__ == "__main__":
    if "--slot" in sys.argv:
        from workers.__main__ import main as work

        work(sys.argv[1:], job_command=(sys.executable, str(Path(__file__))))
    else:
        from workers.job import main as run_job

        run_job(sys.argv[1:], {"discriminator_training": stamp})
