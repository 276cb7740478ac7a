"""Whether the parts that requests need are there: found out once, told to all who ask."""

import asyncio
import time
from collections.abc import Callable

from sqlalchemy import select

from services.database.schema import Job
from services.installation import Installation
from services.jobs.dispatch import Dispatcher

# Anybody may ask, and each look writes a file: so an answer holds for a while.
KEPT_SECONDS = 3.0


class Readiness:
    """The state of database, blobs and broker, a few seconds old at most."""

    def __init__(self, installation: Installation, dispatcher: Dispatcher) -> None:
        self._installation = installation
        self._dispatcher = dispatcher
        self._turn = asyncio.Lock()
        self._checks: dict[str, str] = {}
        self._looked = float("-inf")

    async def checks(self) -> dict[str, str]:
        """`ok`, or what is wrong, by part."""
        async with self._turn:
            if time.monotonic() - self._looked >= KEPT_SECONDS:
                self._checks = await asyncio.to_thread(self._look)
                self._looked = time.monotonic()
            return self._checks

    def _look(self) -> dict[str, str]:
        return {
            "database": _tried(self._ask_database),
            "blobs": _tried(lambda: self._installation.blobs.put("probe/readyz", b"ok")),
            "broker": "ok" if self._dispatcher.ready() else "does not answer",
        }

    def _ask_database(self) -> None:
        with self._installation.database.read() as session:
            session.scalar(select(Job.id).limit(1))


def _tried(check: Callable[[], object]) -> str:
    try:
        check()
    except Exception as error:  # noqa: BLE001 - whatever it is, the part is not there
        return type(error).__name__
    return "ok"
