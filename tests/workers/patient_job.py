"""A job process whose computation counts, and that sends its traces however long that takes."""

import sys

from services.telemetry import tracer
from tests.workers.counting_job import count
from workers.job import main

if __name__ == "__main__":
    tracer._LAST_SECONDS = 20.0
    main(sys.argv[1:], {"discriminator_training": count})
