"""Telling worker slots of queued jobs, beside the requests: none waits for a silent broker."""

import logging
import queue
import threading
from contextlib import suppress

from services.jobs.dispatch import Dispatcher

# Jobs to be told of; what comes beyond is left to the reaper, who announces what waits.
_MOST = 1000
_log = logging.getLogger(__name__)


class Announcements:
    """One thread that publishes, one after another."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._jobs: queue.Queue[tuple[str, str] | None] = queue.Queue(_MOST)
        self._thread: threading.Thread | None = None

    async def announce(self, job_id: str, type: str) -> None:
        """Have the job announced soon; call it once its row is committed."""
        if self._thread is None:
            # A daemon: a process that stops does not wait for the broker either.
            self._thread = threading.Thread(target=self._publish, name="announcer", daemon=True)
            self._thread.start()
        try:
            self._jobs.put_nowait((job_id, type))
        except queue.Full:
            _log.warning("job %s is left to the reaper to announce: the broker is slow", job_id)

    def close(self) -> None:
        """Let the thread end."""
        if self._thread is not None:
            with suppress(queue.Full):
                self._jobs.put_nowait(None)

    def _publish(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._dispatcher.announce(*job)
            except Exception:  # noqa: BLE001 - the next job is to be announced all the same
                _log.exception("cannot announce job %s", job[0])
