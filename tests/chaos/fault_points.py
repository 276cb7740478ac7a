"""A worker slot and its job processes that die at a named point, once for each job.

`python fault_points.py --slot 0` is the slot. What a job is to die of stands in the folder
FAULT_ORDERS, in a file with the job's id as its name. The jobs count, as those of
`tests/workers/counting_job.py`.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

sys.path.append(str(Path(__file__).parents[1] / "workers"))

from counting_job import count

from services import blobs as stores
from services.blobs import Blobs
from services.jobs import claims, lifecycle
from services.jobs.reaper import Reaper
from services.jobs.run import JobRun
from workers import __main__ as slot
from workers import job as process
from workers.supervisor import Supervisor


@dataclass(frozen=True)
class Fault:
    """Death before or after a function's call; `whose` tells which job's call it is, if any."""

    owner: Any
    name: str
    whose: Callable[..., str | None]
    after: bool = False

    def install(self, point: str) -> None:
        """Wrap the function in this process."""
        wrapped = getattr(self.owner, self.name)

        @functools.wraps(wrapped)
        def fatal(*given: Any, **named: Any) -> Any:
            if not self.after:
                die(self.whose(*given, **named), point)
            result = wrapped(*given, **named)
            if self.after:
                die(self.whose(*given, **named), point)
            return result

        setattr(self.owner, self.name, fatal)


@dataclass(frozen=True)
class HalfWritten:
    """Death in the middle of writing a file of that folder."""

    folder: str

    def install(self, point: str) -> None:
        """Wrap what writes files in this process."""
        replace_file = stores.replace_file

        def fatal(path: Path, content: Any, *, draft: str) -> None:
            if self.folder in path.parts:
                content = _Half(content, point)
            replace_file(path, content, draft=draft)

        stores.replace_file = fatal


class _Half:
    """A file that can be read to its half; who reads on dies."""

    def __init__(self, content: bytes, point: str) -> None:
        self._half = content[: len(content) // 2]
        self._point = point

    def read(self, size: int = -1) -> bytes:
        half, self._half = self._half, b""
        if not half:
            die(_own_job(), self._point)
        return half


def die(job_id: str | None, point: str) -> None:
    """Carry out the order for that job, if it is for this point."""
    if job_id is not None and order(job_id) == point:
        orders = Path(os.environ["FAULT_ORDERS"])
        (orders / job_id).unlink()
        # A slot that takes another's job back may run one itself, which ends with it.
        for neighbour in psutil.Process().children():
            for word in neighbour.cmdline():
                if word.startswith("job_") and word != job_id:
                    (orders / f"{word}.felled").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def order(job_id: str) -> str | None:
    """What the job is to die of, if it has not yet."""
    path = Path(os.environ["FAULT_ORDERS"], job_id)
    return path.read_text() if path.exists() else None


def _own_job(*_: Any) -> str:
    return sys.argv[1]


def _in(folder: str) -> Callable[..., str | None]:
    """This process's job, if a blob's key or a path that is given lies in that folder."""

    def whose(*given: Any, **_: Any) -> str | None:
        paths = [Path(each) for each in given if isinstance(each, str | Path)]
        return _own_job() if any(folder in path.parts for path in paths) else None

    return whose


def _checkpoint_event(session: Any, job_id: str, kind: str, *_: Any) -> str | None:
    return job_id if kind == "checkpoint" else None


def _of_claim(_: Any, claim: claims.Claim, *__: Any, **___: Any) -> str:
    return claim.job_id


SLOT_FAULTS = {
    "before the claim": Fault(claims, "claim", _of_claim),
    "claim not committed": Fault(claims, "claim", _of_claim, after=True),
    "claimed, no process": Fault(Supervisor, "_start", _of_claim),
    "process just started": Fault(Supervisor, "_start", _of_claim, after=True),
    "process ended, not settled": Fault(Supervisor, "_settle", _of_claim),
    "taken back, not announced": Fault(Reaper, "announce", lambda _, job: job.id),
}
JOB_FAULTS = {
    "before the first write": Fault(JobRun, "__init__", _own_job),
    "before the checkpoint": Fault(Blobs, "put_sealed", _in("checkpoints")),
    "checkpoint half written": HalfWritten("checkpoints"),
    "checkpoint not renamed": Fault(Path, "replace", _in("checkpoints")),
    "checkpoint renamed": Fault(Path, "replace", _in("checkpoints"), after=True),
    "before the checkpoint's row": Fault(Blobs, "put_sealed", _in("checkpoints"), after=True),
    "checkpoint's row not committed": Fault(lifecycle, "record", _checkpoint_event, after=True),
    "old checkpoint not deleted": Fault(Blobs, "delete", _in("checkpoints")),
    "old checkpoint deleted": Fault(Blobs, "delete", _in("checkpoints"), after=True),
    "before the artefact": Fault(Blobs, "put", _in("artifacts")),
    "artefact half written": HalfWritten("artifacts"),
    "artefact written": Fault(Blobs, "put", _in("artifacts"), after=True),
    "before the result": Fault(JobRun, "publish", _own_job),
    "result not committed": Fault(claims, "succeed", _of_claim, after=True),
    "result committed": Fault(JobRun, "publish", _own_job, after=True),
}


def main(arguments: list[str]) -> None:
    """Be a slot, or the process of a job that the slot has started."""
    if arguments[0].startswith("--"):
        for point, fault in SLOT_FAULTS.items():
            fault.install(point)
        slot.main(arguments, job_command=(sys.executable, __file__))
        return
    point = order(arguments[0])
    if point in JOB_FAULTS:
        JOB_FAULTS[point].install(point)
    process.main(arguments, {"discriminator_training": count})


if __name__ == "__main__":
    main(sys.argv[1:])
