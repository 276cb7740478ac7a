"""The processes that run jobs: the Celery app, the slot supervisor and the job process."""

# What a supervisor writes into the pipe to its job process: save a checkpoint and end.
STOP = b"s"
