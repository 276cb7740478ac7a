"""The job process: one attempt at one job, in a process that ends with it.

Run by the slot's supervisor as
`python -m workers.job JOB_ID TOKEN LOCK_DESCRIPTOR PIPE_DESCRIPTOR PARENT`.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from services import telemetry
from services.installation import Installation
from services.jobs.claims import Claim, StaleRunError
from services.jobs.execution import COMPUTATIONS, Computation, execute
from services.jobs.run import PULSE_SECONDS, JobRun, StalledError
from services.logs import configure_logging, name_process
from services.processes import die_with_parent
from services.settings import load_settings
from workers import STOP

# Exit codes for the log; the supervisor looks at the database instead.
_STALE = 3
_STALLED = 4
# It computes for minutes or days; those that answer people meanwhile come first.
_NICENESS = 5
_log = logging.getLogger("workers.job")


def main(arguments: Sequence[str], computations: Mapping[str, Computation] = COMPUTATIONS) -> None:
    """Run the attempt, and end the process once it has ended in the database."""
    job_id, *numbers = arguments
    token, lock, pipe, parent = map(int, numbers)
    die_with_parent(parent)
    os.nice(_NICENESS)  # of all threads that are made from here on
    os.set_inheritable(lock, False)  # the lock is this process's sign of life, not its children's
    stopping = threading.Event()
    _start(lambda: _listen(pipe, stopping))

    settings = load_settings()
    configure_logging(settings, job_id=job_id)
    telemetry.start("job")
    installation = Installation.open(settings)
    try:
        run = JobRun(installation, Claim(job_id, token), stopping)
        name_process(**run.ids, trace_id=telemetry.trace_id())
        _start(lambda: _pulse(run))
        installation.blobs.when_full(run.wait_for_space)
        execute(installation, run, computations)
    except StaleRunError:
        _end_stale(job_id)
    finally:
        telemetry.stop()
    logging.shutdown()
    # Python would clear torch away first, for up to some seconds, while the slot waits.
    os._exit(0)


def _listen(pipe: int, stopping: threading.Event) -> None:
    """Obey the supervisor; end with it: its end of the pipe closes when it is gone."""
    while os.read(pipe, 1) == STOP:
        stopping.set()
    os._exit(1)


def _pulse(run: JobRun) -> None:
    while True:
        time.sleep(PULSE_SECONDS)
        try:
            run.pulse()
        except StaleRunError:
            _end_stale(run.claim.job_id)
        except StalledError as error:
            _log.error("job %s: %s", run.claim.job_id, error)
            os._exit(_STALLED)
        except Exception as error:  # noqa: BLE001 - the database may be away for a while
            _log.warning("job %s: no pulse: %s", run.claim.job_id, error)


def _end_stale(job_id: str) -> None:
    """End at once: the job is another's now, or has ended."""
    _log.warning("job %s was taken from this process, which ends", job_id)
    os._exit(_STALE)


def _start(target: Callable[[], None]) -> None:
    threading.Thread(target=target, daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1:])
