"""`python -m workers [--slot N]`: one worker slot, with the settings of the environment."""

import argparse
import sys
from collections.abc import Sequence

from services.devices import device_of
from services.errors import ServiceError
from services.installation import Installation, configure_logging
from services.jobs.dispatch import Dispatcher
from services.jobs.reaper import Reaper
from services.jobs.workers import Slot
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
    number = parser.parse_args(arguments).slot
    settings = load_settings()
    configure_logging(settings)
    installation = Installation.open(settings)
    device = device_of(number)
    slot = Slot.here(number, device.label)
    reaper = Reaper(installation, Dispatcher(settings))
    supervisor = Supervisor(installation, reaper, slot, device, command=job_command)
    try:
        serve(create_app(settings, supervisor), name=slot.id, log_level=settings.log_level)
    finally:
        supervisor.leave()


if __name__ == "__main__":
    try:
        main()
    except ServiceError as error:
        sys.exit(f"mdf: {error.message}")
