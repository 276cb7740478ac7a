"""Following jobs' event logs: one poller for the whole process, however many clients listen.

The poller asks the database for the log positions of the jobs that somebody follows, reads
new events once, and wakes their followers. A follower that lags behind what the feed holds
reads the rest from the database itself, at its own pace.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from services import keys
from services.access import Caller
from services.database import Database
from services.database.schema import Job, JobEvent
from services.jobs import queries
from services.jobs.lifecycle import TERMINAL

_HELD = 256  # events that a feed keeps for its followers
_PAGE = 500  # events read at once
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """One line of a job's log."""

    seq: int
    kind: str
    content: dict[str, Any]
    created: Any

    @property
    def ends(self) -> bool:
        """Whether the job had ended with it."""
        return self.kind == "state" and self.content.get("state") in TERMINAL


class Feed:
    """The end of one job's log, as far as it is known."""

    def __init__(self, last: int, ended: bool) -> None:
        self.last = last
        self.ended = ended
        self.gone = False  # the job was deleted
        self.followers = 0
        self._held: deque[Event] = deque(maxlen=_HELD)
        self._changed = asyncio.Event()

    def append(self, events: Collection[Event]) -> None:
        """Take new events and wake the followers."""
        for event in events:
            self._held.append(event)
            self.last = event.seq
            if event.kind == "state":
                self.ended = event.ends
        self.wake()

    def wake(self) -> None:
        """Let the followers look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def after(self, seq: int) -> list[Event] | None:
        """The events that follow `seq`; None if the feed does not reach back so far."""
        if seq >= self.last:
            return []
        if not self._held or self._held[0].seq > seq + 1:
            return None
        return [event for event in self._held if event.seq > seq]

    async def change(self) -> None:
        """Wait until there is something to look at."""
        await self._changed.wait()


class EventFeeds:
    """The feeds of all followed jobs, and their poller."""

    def __init__(self, database: Database, *, interval: float = 0.2) -> None:
        self._database = database
        self._interval = interval
        self._feeds: dict[str, Feed] = {}
        self._key_followers: dict[str, int] = defaultdict(int)
        self._revoked: set[str] = set()
        self._poller: asyncio.Task[None] | None = None
        self._closed = False

    async def follow(self, job: Job, caller: Caller, *, after: int) -> AsyncIterator[Event]:
        """The events of `job` after number `after`, as they come, until the job has ended.

        Ends also when the job is deleted, the caller's key revoked or the server stopped.
        """
        feed = self._enter(job, caller)
        try:
            while not (self._closed or feed.gone or caller.key_id in self._revoked):
                events = feed.after(after)
                if events is None:
                    events = await asyncio.to_thread(self._read, job.id, after)
                for event in events:
                    yield event
                    after = event.seq
                if after >= feed.last:
                    if feed.ended:
                        return
                    await feed.change()
        finally:
            self._leave(job.id, caller)

    async def close(self) -> None:
        """End all streams."""
        self.end_streams()
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    def end_streams(self) -> None:
        """Tell the followers that the server stops; call it in the event loop's thread."""
        self._closed = True
        for feed in self._feeds.values():
            feed.wake()

    def _enter(self, job: Job, caller: Caller) -> Feed:
        # No await from here to the first `after`: the poller cannot get in between.
        feed = self._feeds.setdefault(job.id, Feed(job.last_seq, job.state in TERMINAL))
        feed.followers += 1
        if caller.key_id is not None:
            self._key_followers[caller.key_id] += 1
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="event feeds")
        return feed

    def _leave(self, job_id: str, caller: Caller) -> None:
        feed = self._feeds[job_id]
        feed.followers -= 1
        if not feed.followers:
            del self._feeds[job_id]
        if caller.key_id is not None:
            self._key_followers[caller.key_id] -= 1
            if not self._key_followers[caller.key_id]:
                del self._key_followers[caller.key_id]

    async def _poll(self) -> None:
        while self._feeds:
            await asyncio.sleep(self._interval)
            try:
                await self._look_once()
            except SQLAlchemyError as error:
                _log.warning("cannot read event logs, trying again: %s", error)
            except Exception:  # noqa: BLE001 - followers wait for this poller and no other
                _log.exception("cannot read event logs, trying again")

    async def _look_once(self) -> None:
        positions = {job_id: feed.last for job_id, feed in self._feeds.items()}
        found, revoked = await asyncio.to_thread(self._look, positions, list(self._key_followers))
        self._revoked = revoked
        for job_id, events in found.items():
            feed = self._feeds.get(job_id)
            if feed is not None and feed.last == positions[job_id]:
                feed.gone = events is None
                feed.append(events or ())
        if revoked:
            for feed in self._feeds.values():
                feed.wake()

    def _look(
        self, positions: Mapping[str, int], key_ids: Collection[str]
    ) -> tuple[dict[str, list[Event] | None], set[str]]:
        """New events of those jobs that have any, None for one that is gone; revoked keys."""
        found: dict[str, list[Event] | None] = {}
        with self._database.read() as session:
            last_seqs = queries.last_seqs(session, positions.keys())
            for job_id, position in positions.items():
                if job_id not in last_seqs:
                    found[job_id] = None
                elif last_seqs[job_id] > position:
                    rows = queries.events_after(session, job_id, position, _PAGE)
                    found[job_id] = [_event(row) for row in rows]
            revoked = keys.revoked_among(session, key_ids) if key_ids else set()
        return found, revoked

    def _read(self, job_id: str, after: int) -> list[Event]:
        with self._database.read() as session:
            return [_event(row) for row in queries.events_after(session, job_id, after, _PAGE)]


def _event(row: JobEvent) -> Event:
    return Event(seq=row.seq, kind=row.kind, content=row.content, created=row.created)
