"""A job's event log as it is written: server-sent events, taken up again where they broke off."""

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator

from mdf.client.pages import records
from mdf.client.records import FINAL_STATES, Event, Job, parse
from mdf.client.transport import Transport
from mdf.errors import ApiError, MDFError, UnreachableError

# The server sends a comment at least every 15 seconds; longer silence is a dead connection.
_LONGEST_SILENCE = 45.0
_FIRST_PAUSE = 0.2  # before a lost stream is opened again, unless the server gave another, s
_LONGEST_PAUSE = 5.0
_LONGEST_ADVICE = 60.0  # that is taken from a server, s


def follow(
    transport: Transport,
    job_id: str,
    *,
    after: int = 0,
    patience: float = 300.0,
    on_lost: Callable[[MDFError], None] | None = None,
) -> Iterator[Event]:
    """Every event of the job after number `after`, in order and once, until the job has ended.

    A lost connection is made anew and continues after the last event seen; `on_lost` hears
    of it. The server says how long to wait, so that its clients do not all return at once.
    If a backup was restored meanwhile, events come again from the number on that was seen last.
    UnreachableError is raised when there has been no server for `patience` seconds.
    """
    failures, last_contact = 0, time.monotonic()
    ended = False
    pause = _FIRST_PAUSE

    def heed(seconds: float) -> None:
        nonlocal pause
        pause = min(seconds, _LONGEST_ADVICE)

    while True:
        try:
            for event in _stream(transport, job_id, after, heed):
                failures, last_contact = 0, time.monotonic()
                after = event.seq
                # A job that failed, and was then retried, has such an event in the middle.
                ended = event.state in FINAL_STATES
                yield event
            # The server closes the stream when there is nothing more to come.
            last_contact = time.monotonic()
            if ended or _has_ended(transport, job_id, after):
                return
        except MDFError as error:
            if not passing(error) or time.monotonic() - last_contact > patience:
                raise
            if on_lost is not None:
                on_lost(error)
        longer = min(pause * 2**failures, max(pause, _LONGEST_PAUSE))
        time.sleep(longer * random.uniform(0.75, 1.25))  # noqa: S311 - spreads callers in time
        failures += 1


def _stream(
    transport: Transport, job_id: str, after: int, heed: Callable[[float], None]
) -> Iterator[Event]:
    with transport.stream(
        f"/v1/jobs/{job_id}/events",
        headers={
            "Accept": "text/event-stream",
            "Cache-Control": "no-store",
            "Last-Event-ID": str(after),
        },
        read_timeout=_LONGEST_SILENCE,
    ) as response:
        for data in messages(response.iter_lines(), heed):
            event = parse(Event, json.loads(data))
            if event.seq > after:
                after = event.seq
                yield event


def messages(lines: Iterable[str], heed: Callable[[float], None]) -> Iterator[str]:
    """The `data` of each server-sent event; one that breaks off in the middle is dropped.

    `heed` is told the seconds after which the server wants a lost stream to be opened again.
    """
    data: list[str] = []
    for line in lines:
        if line:
            field, _, value = line.partition(":")
            if field == "data":
                data.append(value.removeprefix(" "))
            elif field == "retry" and value.strip().isdecimal():
                heed(int(value) / 1000)
        elif data:
            yield "\n".join(data)
            data = []


def _has_ended(transport: Transport, job_id: str, after: int) -> bool:
    """Whether the job is over and has no events after number `after`."""
    if not parse(Job, transport.get(f"/v1/jobs/{job_id}")).done:
        return False
    return not records(Event, transport.get(f"/v1/jobs/{job_id}/events", after=after, limit=1))


def passing(error: MDFError) -> bool:
    """Whether the fault may pass by itself, as when the server restarts."""
    return isinstance(error, UnreachableError) or (
        isinstance(error, ApiError) and (error.status >= 500 or error.status == 429)
    )
