"""A worker slot whose jobs count; it and they have all the time that they need to end."""

import sys
from pathlib import Path

from services.telemetry import tracer
from workers import supervisor
from workers.__main__ import main

if __name__ == "__main__":
    tracer._LAST_SECONDS = 20.0
    supervisor._GRACE_SECONDS["stale"] = 25.0
    job = Path(__file__).with_name("patient_job.py")
    main(sys.argv[1:], job_command=(sys.executable, str(job)))
