"""The environment of a training process, for benchmarks that train (see workers/supervisor.py)."""

import os
import sys

ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
    "GOMP_SPINCOUNT": "1000",
}


def enter_job_environment() -> None:
    """Start this program again with ENVIRONMENT, which libraries read when they are loaded."""
    if not ENVIRONMENT.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ENVIRONMENT)
