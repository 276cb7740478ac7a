"""A job process whose computation counts: a program for tests of the engine around it.

What it does stands in the job's name: `steps=20 step_seconds=0.05 crash_at=7`; what it stores
has at least `pad` bytes, and its interpreter would take `linger` seconds to end. Its first attempt
goes no further than the step `stay_at`, and heeds what is asked of it there. In the folder
COUNTING_JOURNAL, if there is one, it notes each step that it has done, by job: token, step,
beginning and end in seconds of the monotonic clock.
"""

import atexit
import json
import os
import signal
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
from workers.job import main


def count(installation: Installation, job: Job, run: JobRun) -> Callable[[Session, Job], None]:
    """Count to `steps`, and publish the digits: resumed or not, they must be the same."""
    options = {name: float(value) for name, value in (word.split("=") for word in job.name.split())}
    steps, pad = int(options.get("steps", 20)), int(options.get("pad", 0))
    atexit.register(time.sleep, options.get("linger", 0))
    state = run.load_checkpoint()
    counted: list[int] = [] if state is None else json.loads(state)
    for step in range(len(counted) + 1, steps + 1):
        began = time.monotonic()
        time.sleep(options.get("step_seconds", 0.02))
        if step == options.get("crash_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if step == options.get("hang_at"):
            time.sleep(3600)
        if step == options.get("raise_at"):
            raise KeyError("a secret of the house")
        _note(run, step, began)
        counted.append(step)
        run.metrics(scale=1, step=step, values={"count": float(step)})
        run.progress(scale=1, scales=1, step=step, steps=steps)
        while True:
            signal_ = run.poll()
            if signal_ is Signal.CANCEL and "stubborn" not in options:
                raise Canceled
            if signal_ in (Signal.CHECKPOINT, Signal.PAUSE):
                run.save_checkpoint(json.dumps(counted).encode().ljust(pad))
            if signal_ is Signal.PAUSE:
                raise Paused
            stays = step == options.get("stay_at") and run.claim.token == 1
            if signal_ is Signal.FINISH or not stays:
                break
            time.sleep(0.02)
        if signal_ is Signal.FINISH:
            break
    content = json.dumps(counted).encode().ljust(pad)
    stored = installation.blobs.put(f"artifacts/{job.id}/count", content)

    def publish(session: Session, job: Job) -> None:
        session.add(
            Artifact(
                id=new_id("art"),
                job_id=job.id,
                kind="count",
                media_type="application/json",
                blob=stored.blob,
                size=stored.size,
                sha256=stored.sha256,
                created=now(),
            )
        )

    return publish


def _note(run: JobRun, step: int, began: float) -> None:
    journal = os.environ.get("COUNTING_JOURNAL")
    if journal is not None:
        with Path(journal, run.claim.job_id).open("a") as file:
            file.write(f"{run.claim.token} {step} {began} {time.monotonic()}\n")


if __name__ == "__main__":
    main(sys.argv[1:], {"discriminator_training": count})
