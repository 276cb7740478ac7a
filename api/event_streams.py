"""Server-sent events: the answer that carries a job's log as it is written."""

import asyncio
import math
import random
import time

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.event_feeds import EventFeeds, Follower
from services.access import Caller
from services.database.schema import Job

# Clients that lose their streams at once come back one after another, 25 a second, and when the
# requests that waited have been answered: so many leave room for others.
_RETURN_MILLISECONDS = (10, 50)
_RETURN_AT_LEAST = 250
# How often a stream is told anew: a server that is killed says no more.
_ADVICE_SECONDS = 15.0


class EventStream(Response):
    """The events of `job` after number `after`, until the job has ended.

    One task sends, and one waits for the client to go; neither has a timer of its own.
    """

    media_type = "text/event-stream"

    def __init__(self, feeds: EventFeeds, job: Job, caller: Caller, *, after: int) -> None:
        self._feeds = feeds
        self._job = job
        self._caller = caller
        self._after = after
        self.status_code = 200
        self.background = None
        # A proxy is not to keep or gather what is sent.
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI has it
        """Stream. Raises QuotaExceededError before anything is sent."""
        with self._feeds.follow(self._job, self._caller, after=self._after) as follower:
            listening = asyncio.create_task(_listen(receive, follower))
            try:
                await send(
                    {
                        "type": "http.response.start",
                        "status": self.status_code,
                        "headers": self.raw_headers,
                    }
                )
                await self._stream(follower, send)
            finally:
                listening.cancel()

    async def _stream(self, follower: Follower, send: Send) -> None:
        chunk: bytes | None = b""
        advised = -math.inf
        while chunk is not None:
            if time.monotonic() - advised >= _ADVICE_SECONDS:
                chunk = self._advice() + chunk
                advised = time.monotonic()
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            follower.quiet_since = time.monotonic()
            chunk = await follower.next()
        await send({"type": "http.response.body", "body": self._advice(), "more_body": False})

    def _advice(self) -> bytes:
        """How long the client is to wait before it comes back."""
        each = random.uniform(*_RETURN_MILLISECONDS)  # noqa: S311 - spreads callers in time
        spread = each * self._feeds.returning
        return f"retry: {_RETURN_AT_LEAST + round(spread)}\n\n".encode()


async def _listen(receive: Receive, follower: Follower) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    follower.leave()
