"""A worker slot whose jobs stamp all that they write with the token of their attempt.

Given `--slot` it is the slot, otherwise the job process. What a job does stands in its name:
`steps=50 step_seconds=0.02 stubborn=1`.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.orm import Session

from services.database.schema import Artifact, Job, now
from services.ids import new_id
from services.installation import Installation
from services.jobs.run import JobRun
from services.run import Canceled, Paused, Signal


def stamp(installation: Installation, job: Job, run: JobRun) -> Callable[[Session, Job], None]:
    """Note at each step which attempt made it; publish the notes, [[step, token], …]."""
    options = {name: float(value) for name, value in (word.split("=") for word in job.name.split())}
    steps = int(options["steps"])
    state = run.load_checkpoint()
    made: list[list[int]] = [] if state is None else json.loads(state)
    for step in range(len(made) + 1, steps + 1):
        time.sleep(options.get("step_seconds", 0.02))
        made.append([step, run.claim.token])
        run.metrics(scale=1, step=step, values={"token": float(run.claim.token)})
        run.progress(scale=1, scales=1, step=step, steps=steps)
        asked = run.poll()
        if asked is Signal.CANCEL and "stubborn" not in options:
            raise Canceled
        if asked in (Signal.CHECKPOINT, Signal.PAUSE):
            run.save_checkpoint(json.dumps(made).encode())
        if asked is Signal.PAUSE:
            raise Paused
    stored = installation.blobs.put(f"artifacts/{job.id}/stamps", json.dumps(made).encode())

    def publish(session: Session, job: Job) -> None:
        session.add(
            Artifact(
                id=new_id("art"),
                job_id=job.id,
                kind="stamps",
                media_type="application/json",
                blob=stored.blob,
                size=stored.size,
                sha256=stored.sha256,
                created=now(),
            )
        )

    return publish


if __name__ == "__main__":
    if "--slot" in sys.argv:
        from workers.__main__ import main as work

        work(sys.argv[1:], job_command=(sys.executable, str(Path(__file__))))
    else:
        from workers.job import main as run_job

        run_job(sys.argv[1:], {"discriminator_training": stamp})
