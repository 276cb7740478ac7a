"""Following jobs' event logs: one poller for the whole process, however many clients listen.

The poller asks the database for the log positions of the jobs that somebody follows, reads
new events once, writes each once as streams carry it, and wakes the followers. A follower
that lags behind what its feed holds reads the rest from the database, at its own pace; those
that lag alike read together.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from api.schemas import EventOut
from services import keys
from services.access import Caller
from services.database import Database
from services.database.schema import Job, JobEvent
from services.errors import QuotaExceededError
from services.jobs import queries
from services.jobs.lifecycle import TERMINAL

PING = b": ping\n\n"

_HELD = 256  # events that a feed keeps for its followers
_PAGE = 200  # events read at once
_POLL_SECONDS = 0.2
_TEND_SECONDS = 1.0
_PING_SECONDS = 15.0  # of silence, after which a stream shows that it lives
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a job's log, as a stream carries it."""

    seq: int
    frame: bytes
    state: str | None  # that the job was in from then on

    @classmethod
    def of(cls, row: JobEvent) -> "Event":
        """The event of a row."""
        text = EventOut.model_validate(row).model_dump_json()
        return cls(
            seq=row.seq,
            frame=f"event: {row.kind}\ndata: {text}\nid: {row.seq}\n\n".encode(),
            state=row.content["state"] if row.kind == "state" else None,
        )


class Feed:
    """The end of one job's log, as far as it is known."""

    def __init__(self, job_id: str, last: int, ended: bool) -> None:
        self.job_id = job_id
        self.last = last
        self.ended = ended
        self.gone = False  # the job was deleted
        self.followers: set[Follower] = set()
        self.reading: dict[int, asyncio.Future[list[Event]]] = {}
        self._held: deque[Event] = deque(maxlen=_HELD)

    def append(self, events: Collection[Event]) -> None:
        """Take new events and wake the followers."""
        for event in events:
            self._held.append(event)
            self.last = event.seq
            if event.state is not None:
                self.ended = event.state in TERMINAL
        self.wake()

    def fill(self, events: Sequence[Event]) -> None:
        """Take events that are older than those held, if they reach up to them and there is room.

        When a server has started anew, many come back who have missed the same.
        """
        first = self._held[0].seq if self._held else self.last + 1
        room = _HELD - len(self._held)
        older = [event for event in events if event.seq < first]
        if room and older and older[-1].seq == first - 1:
            self._held.extendleft(reversed(older[-room:]))

    def wake(self) -> None:
        """Let the followers look again."""
        for follower in self.followers:
            follower.wake()

    def after(self, seq: int) -> list[Event] | None:
        """The events that follow `seq`; None if the feed does not reach back so far."""
        if seq >= self.last:
            return []
        if not self._held or self._held[0].seq > seq + 1:
            return None
        # Most are one event behind: from the end is the short way.
        found: list[Event] = []
        for event in reversed(self._held):
            if event.seq <= seq:
                break
            found.append(event)
        return found[::-1]


class Follower:
    """One stream: how far it has come, and whether it goes on."""

    def __init__(self, feeds: "EventFeeds", feed: Feed, caller: Caller, after: int) -> None:
        self.feed = feed
        self.caller = caller
        self.quiet_since = time.monotonic()
        self._feeds = feeds
        self._after = after
        self._left = False
        self._ping_due = False
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Let the stream look again whether there is something to send."""
        self._woken.set()

    def ping(self) -> None:
        """Have the stream show that it lives."""
        self._ping_due = True
        self.wake()

    def leave(self) -> None:
        """The client has gone."""
        self._left = True
        self.wake()

    async def next(self) -> bytes | None:
        """What to send next; None when the stream is over.

        It is when the job has ended and all was sent, the job is deleted, the caller no longer
        let in, the client gone or the server stopping.
        """
        while not (self._left or self.feed.gone or self._feeds.ends(self.caller)):
            known = self.feed.last
            events = self.feed.after(self._after)
            if events is None:
                events = await self._feeds.read(self.feed, self._after)
                self.feed.fill(events)
                if not events:  # the log was thinned: up to there, nothing is left
                    self._after = max(self._after, known)
            if events:
                self._after = events[-1].seq
                return b"".join(event.frame for event in events)
            if self.feed.ended and self._after >= self.feed.last:
                return None
            if self._ping_due:
                self._ping_due = False
                return PING
            await self._woken.wait()
            self._woken.clear()
        return None


class EventFeeds:
    """The feeds of all followed jobs, and their poller.

    `streams_per_key` caps the streams that one key, or callers without a key, hold open.
    """

    def __init__(
        self, database: Database, *, streams_per_key: int, interval: float = _POLL_SECONDS
    ) -> None:
        self._database = database
        self._streams_per_key = streams_per_key
        self._interval = interval
        self._feeds: dict[str, Feed] = {}
        self._callers: Counter[Caller] = Counter()
        self._shut_out: set[Caller] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._at_end = 0  # streams that there were when they were told to end
        # Of their own: the streams wait for no request, and no request for them.
        self._poller = ThreadPoolExecutor(1, "event-poller")
        self._readers = ThreadPoolExecutor(2, "event-reader")

    @property
    def streams(self) -> int:
        """Streams that are open."""
        return sum(tuple(self._callers.values()))  # at once: other threads may ask

    @property
    def returning(self) -> int:
        """Streams that come back if the server ends now, or as it ends."""
        return max(self._at_end, self.streams)

    @contextmanager
    def follow(self, job: Job, caller: Caller, *, after: int) -> Iterator[Follower]:
        """Follow `job` after event number `after`.

        From its first event on if it lives and has had none of that number: the caller has seen
        those of a later time, which a backup of an earlier one has replaced.

        Raises QuotaExceededError if the caller's key has as many streams as it may.
        """
        self._check_room(caller)
        if after > job.last_seq and job.state not in TERMINAL:
            after = 0
        # No await from here to the first `next`: the poller cannot get in between.
        feed = self._feeds.setdefault(job.id, Feed(job.id, job.last_seq, job.state in TERMINAL))
        follower = Follower(self, feed, caller, after)
        feed.followers.add(follower)
        self._callers[caller] += 1
        if not self._tasks or any(task.done() for task in self._tasks):
            self._begin()
        try:
            yield follower
        finally:
            feed.followers.discard(follower)
            if not feed.followers and self._feeds.get(job.id) is feed:
                del self._feeds[job.id]
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]

    def ends(self, caller: Caller) -> bool:
        """Whether the caller's streams end now."""
        return self._closed or caller in self._shut_out

    async def read(self, feed: Feed, after: int) -> list[Event]:
        """A page of the events after number `after`, from the database."""
        if after not in feed.reading:
            loop = asyncio.get_running_loop()
            page = loop.run_in_executor(self._readers, self._read, feed.job_id, after)
            feed.reading[after] = page
            page.add_done_callback(lambda _: feed.reading.pop(after))
        return await asyncio.shield(feed.reading[after])

    def end_streams(self) -> None:
        """Tell the followers that the server stops; call it in the event loop's thread."""
        self._closed, self._at_end = True, self.returning
        for feed in self._feeds.values():
            feed.wake()

    async def close(self) -> None:
        """End all streams."""
        self.end_streams()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._poller.shutdown(wait=False)
        self._readers.shutdown(wait=False)

    def _check_room(self, caller: Caller) -> None:
        count = sum(n for each, n in self._callers.items() if each.key_id == caller.key_id)
        if count >= self._streams_per_key:
            raise QuotaExceededError(
                f"{count} event streams are open with this key, and at most "
                f"{self._streams_per_key} may be: close one, or raise MDF_STREAMS_PER_KEY"
            )

    def _begin(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = [
            asyncio.create_task(self._poll(), name="event poller"),
            asyncio.create_task(self._tend(), name="stream tender"),
        ]

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
        found, self._shut_out = await asyncio.get_running_loop().run_in_executor(
            self._poller, self._look, positions, list(self._callers)
        )
        for job_id, events in found.items():
            feed = self._feeds.get(job_id)
            if feed is not None and feed.last == positions[job_id]:
                feed.gone = events is None
                feed.append(events or ())
        if self._shut_out:
            for feed in self._feeds.values():
                feed.wake()

    def _look(
        self, positions: Mapping[str, int], callers: Collection[Caller]
    ) -> tuple[dict[str, list[Event] | None], set[Caller]]:
        """New events of those jobs that have any, None for one that is gone; who is shut out."""
        found: dict[str, list[Event] | None] = {}
        with self._database.read() as session:
            last_seqs = queries.last_seqs(session, positions.keys())
            for job_id, position in positions.items():
                if job_id not in last_seqs:
                    found[job_id] = None
                elif last_seqs[job_id] > position:
                    rows = queries.events_after(session, job_id, position, _PAGE)
                    found[job_id] = [Event.of(row) for row in rows]
            shut_out = keys.shut_out(session, callers)
        return found, shut_out

    def _read(self, job_id: str, after: int) -> list[Event]:
        with self._database.read() as session:
            return [Event.of(row) for row in queries.events_after(session, job_id, after, _PAGE)]

    async def _tend(self) -> None:
        """Let silent streams show that they live."""
        while self._feeds:
            await asyncio.sleep(_TEND_SECONDS)
            moment = time.monotonic()
            for feed in self._feeds.values():
                for follower in feed.followers:
                    if moment - follower.quiet_since >= _PING_SECONDS:
                        follower.ping()
