"""`python -m workers [--slot N] [--queues NAMES]`: one worker slot; settings by environment."""

import argparse
import sys
import threading
from collections.abc import Sequence

from services import telemetry
from services.devices import device_of
from services.errors import ServiceError
from services.installation import Installation
from services.jobs.dispatch import Dispatcher
from services.jobs.queues import QUEUE_NAMES
from services.jobs.reaper import Reaper
from services.jobs.workers import Slot
from services.logs import configure_logging
from services.settings import load_settings
from workers.app import create_app, serve
from workers.supervisor import JOB_COMMAND, Supervisor


def main(
    arguments: Sequence[str] | None = None, *, job_command: Sequence[str] = JOB_COMMAND
) -> None:
    """Run a slot until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument(
        "--slot", type=int, default=0, help="number of the slot on this host, from 0: picks its GPU"
    )
    parser.add_argument(
        "--queues",
        type=_queues,
        default=QUEUE_NAMES,
        help=f"queues to work on, with commas between; default: all ({','.join(QUEUE_NAMES)})",
    )
    given = parser.parse_args(arguments)
    number = given.slot
    settings = load_settings()
    device = device_of(number)
    slot = Slot.here(number, device.label)
    configure_logging(settings, worker=slot.id)
    telemetry.start("worker")
    installation = Installation.open(settings)
    reaper = Reaper(installation, Dispatcher(settings))
    supervisor = Supervisor(installation, reaper, slot, device, command=job_command)
    # From the first moment: the dead wait neither for Celery nor for the broker.
    for duty in (supervisor.beat, supervisor.clear_away, supervisor.watch_resources):
        threading.Thread(target=duty, daemon=True, name=duty.__name__).start()
    try:
        serve(
            create_app(settings, supervisor),
            name=slot.id,
            log_level=settings.log_level,
            queues=given.queues,
        )
    finally:
        supervisor.leave()
        telemetry.stop()


def _queues(text: str) -> tuple[str, ...]:
    wanted = {name.strip() for name in text.split(",")}
    if unknown := sorted(wanted - set(QUEUE_NAMES)):
        raise argparse.ArgumentTypeError(
            f"no queue {', '.join(map(repr, unknown))}; there are {', '.join(QUEUE_NAMES)}"
        )
    return tuple(name for name in QUEUE_NAMES if name in wanted)  # in their order


if __name__ == "__main__":
    try:
        main()
    except ServiceError as error:
        sys.exit(f"mdf: {error.message}")
