"""The processes that run jobs: the Celery app, the slot supervisor and the job process."""
