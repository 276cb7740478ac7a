"""A worker slot whose jobs count; see `counting_job.py`."""

import sys
from pathlib import Path

from workers.__main__ import main

if __name__ == "__main__":
    job = Path(__file__).with_name("counting_job.py")
    main(sys.argv[1:], job_command=(sys.executable, str(job)))
