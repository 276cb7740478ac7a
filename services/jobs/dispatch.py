"""Waking worker slots: Celery over Redis carries job ids, and nothing else.

A message may be lost or doubled without harm: a slot that gets one asks the database what
to do, and the reaper announces again what waits for too long.
"""

import logging
import ssl
from typing import Any

import redis
from celery import Celery
from celery.app.amqp import AMQP
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from services import logs
from services.jobs.queues import QUEUES
from services.settings import Settings

RUN_TASK = "jobs.run"

_TIMEOUT_SECONDS = 5
_QUESTION_SECONDS = 1  # the reaper has other things to do than to wait for a silent broker
_log = logging.getLogger(__name__)


class _Connection(Connection):
    """Reconnects within seconds of the broker's return; by default that takes up to 30 s."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        intervals = {"interval_start": 1, "interval_step": 1, "interval_max": 3}
        return super().ensure_connection(*args, **intervals, **kwargs)  # type: ignore[no-untyped-call]  # kombu has no types


class _Amqp(AMQP):  # type: ignore[misc]  # Celery has no types
    Connection = _Connection


def celery_app(settings: Settings) -> Celery:
    """The Celery application, the same for those who publish and those who consume."""
    app = Celery("mdf", broker=settings.broker_url, amqp=_Amqp, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # The database keeps what must not be lost: a message is done with once it is read.
        task_acks_late=False,
        task_publish_retry=False,
        task_create_missing_queues=True,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A broker that refuses, with its disk full for one, is asked again as one that is away.
        broker_channel_error_retry=True,
        broker_connection_timeout=_TIMEOUT_SECONDS,
        broker_transport_options={
            "visibility_timeout": 3600,
            "socket_timeout": _TIMEOUT_SECONDS,
            "socket_connect_timeout": _TIMEOUT_SECONDS,
            # An answer that was lost on its way is not waited for any longer than twice this.
            "health_check_interval": _TIMEOUT_SECONDS,
            "queue_order_strategy": "priority",
        },
    )
    if settings.broker_url.startswith("rediss:") and "ssl_cert_reqs" not in settings.broker_url:
        app.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    return app


class Dispatcher:
    """Publishes to the broker; a broker that is away is no error here."""

    def __init__(self, settings: Settings) -> None:
        self._app = celery_app(settings)
        self._redis = redis.Redis.from_url(
            settings.redis_client_url,
            socket_timeout=_QUESTION_SECONDS,
            socket_connect_timeout=_QUESTION_SECONDS,
        )

    def announce(self, job_id: str, type: str) -> bool:
        """Tell the slots of a queued job; False if the broker cannot be reached."""
        try:
            # A connection of its own: a pooled one may date from before the broker's restart.
            with self._app.connection_for_write(transport_options={"max_retries": 0}) as connection:
                self._app.send_task(
                    RUN_TASK, args=[job_id], queue=QUEUES[type], connection=connection
                )
        except (OperationalError, redis.RedisError, OSError) as error:
            with logs.about(job_id=job_id):
                _log.warning("cannot announce job %s: %s", job_id, error)
            return False
        return True

    def waiting(self, queue: str) -> int | None:
        """Messages in that queue that no slot has read; None if the broker is away."""
        try:
            return int(self._redis.llen(queue))
        except (redis.RedisError, OSError):
            return None

    def ready(self) -> bool:
        """Whether the broker answers."""
        try:
            return bool(self._redis.ping())
        except (redis.RedisError, OSError):
            return False

    def close(self) -> None:
        """Give the connections back."""
        self._app.close()
        self._redis.close()
