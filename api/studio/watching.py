"""Waiting for news of a job, by the same feed as the event streams of the REST interface."""

import asyncio
from collections.abc import AsyncIterator

from api.studio.visitor import Visitor
from services.jobs import queries

# Pages ask for what is new once per so long, however much happens.
SECONDS_BETWEEN = 0.5


async def changes(visitor: Visitor, job_id: str) -> AsyncIterator[None]:
    """Once at first, then whenever something has happened to the job, until it has ended.

    Leaving the loop leaves the feed. Raises NotFoundError for a job that the visitor cannot see.
    """
    job = await visitor.read(lambda session, caller: queries.get(session, job_id, caller))
    with visitor.runtime.feeds.follow(job, visitor.caller, after=job.last_seq) as follower:
        yield
        while await follower.next() is not None:
            yield
            await asyncio.sleep(SECONDS_BETWEEN)
    yield
