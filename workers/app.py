"""The Celery application of a worker slot: one task, which hands a job's id to the supervisor."""

import sys
from collections.abc import Sequence
from typing import Any

from celery import Celery, signals

from services.jobs.dispatch import RUN_TASK, celery_app
from services.jobs.queues import QUEUE_NAMES
from services.settings import Settings
from workers.supervisor import Supervisor


def create_app(settings: Settings, supervisor: Supervisor) -> Celery:
    """An application whose worker runs jobs through `supervisor`."""
    app = celery_app(settings)

    @app.task(name=RUN_TASK, ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
    def run_job(job_id: str) -> None:
        supervisor.run(job_id)

    @signals.setup_logging.connect(weak=False)  # type: ignore[untyped-decorator]  # Celery has no types
    def leave_logging(**_: Any) -> None:
        """Celery's lines are logged as all others are."""

    @signals.worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]  # Celery has no types
    def on_shutting_down(**_: Any) -> None:
        supervisor.stop()

    return app


def serve(app: Celery, *, name: str, log_level: str, queues: Sequence[str] = QUEUE_NAMES) -> None:
    """Take messages until SIGTERM or SIGINT; then let the running job checkpoint, and return."""
    options = (
        "--pool=threads --concurrency=1 --without-gossip --without-mingle "
        f"--queues={','.join(queues)}"
    )
    # No banner, and no words beside the log when it is told to stop: the log is all JSON or none.
    sys.__stdout__ = None  # type: ignore[misc]  # as in a process that has none
    worker = ["--quiet", "worker", *options.split()]
    app.worker_main([*worker, "--hostname", name, "--loglevel", log_level])
