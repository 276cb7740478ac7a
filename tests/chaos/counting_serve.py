"""`mdf serve` whose slots count instead of training; see tests/workers/counting_job.py."""

import sys
from pathlib import Path

from services.embedded.stack import Stack
from services.settings import load_settings

WORKER = Path(__file__).parents[1] / "workers" / "counting_worker.py"

if __name__ == "__main__":
    stack = Stack(load_settings(), tell=print)
    for worker in stack._workers:
        options = worker.command[worker.command.index("workers") + 1 :]
        worker.command = (sys.executable, str(WORKER), *options)
    with stack.heeding_signals(), stack:
        stack.wait()
