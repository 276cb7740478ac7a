"""The environment of a job process, for benchmarks that train."""

import os
import sys

from services.processes import LIBRARY_ENVIRONMENT


def enter_job_environment() -> None:
    """Start this program again with LIBRARY_ENVIRONMENT, if it does not have it."""
    if not LIBRARY_ENVIRONMENT.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | LIBRARY_ENVIRONMENT)
