"""How often somebody may do something: a bucket for each name, filled evenly, that holds a minute's
worth.

Kept on the broker's Redis, so that several processes share it; in this process's own memory
while Redis is away. Counted by the time at which a bucket will be full again (the generic cell
rate algorithm of ATM networks): one number for each name, which goes when it has no more to
say.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from services.settings import Settings

WINDOW_SECONDS = 60

# An answer of Redis is waited for so long, looked for so often meanwhile, and then not asked for
# until the pause is over.
_TIMEOUT_SECONDS = 0.1
_LOOKS = 50
_PAUSE_SECONDS = 1.0
_CONNECTIONS = 16
# Names in memory, after which those whose buckets are full are forgotten.
_MANY = 10_000
_log = logging.getLogger(__name__)

# Times in microseconds, by the clock of Redis: hosts need not agree on theirs.
_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local each, most, spend = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
if full - now + each > most then return {0, full - now} end
if spend then
  full = full + each
  local lasts = math.ceil((full - now) / 1000) + 1
  redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', lasts)
end
return {1, full - now}
"""


@dataclass(frozen=True)
class Standing:
    """How a bucket stands after it was asked."""

    allowed: bool
    remaining: int  # times that may follow at once
    full_in: float  # seconds
    next_in: float  # seconds until once more is allowed


class Rates:
    """The buckets of one installation."""

    def __init__(self, settings: Settings) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            settings.redis_client_url,
            max_connections=_CONNECTIONS,
            socket_timeout=None,  # see _time_limit
            retry=Retry(NoBackoff(), 0),
        )
        # Who finds all connections taken waits for a turn: that says nothing about Redis.
        self._turns = asyncio.Semaphore(_CONNECTIONS)
        self._script = self._redis.register_script(_SCRIPT)
        self._away_until = 0.0
        self._is_leaving = False
        self._full: dict[str, float] = {}  # by name, microseconds of this process's clock

    async def take(self, name: str, per_minute: int) -> Standing:
        """Do it once, if that is allowed."""
        return await self._ask(name, per_minute, spend=True)

    async def look(self, name: str, per_minute: int) -> Standing:
        """Whether once would be allowed; changes nothing."""
        return await self._ask(name, per_minute, spend=False)

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()

    async def _ask(self, name: str, per_minute: int, *, spend: bool) -> Standing:
        most = WINDOW_SECONDS * 1e6
        each = most / per_minute
        async with self._turns:
            if time.monotonic() >= self._away_until:
                if self._away_until:  # one looks whether Redis is back; others do not wait for it
                    self._away_until = time.monotonic() + _PAUSE_SECONDS
                try:
                    async with _time_limit():
                        allowed, until_full = await self._script(
                            keys=[f"mdf:rate:{name}"], args=[each, most, int(spend)]
                        )
                except (RedisError, OSError) as error:
                    await self._leave(error)
                else:
                    self._away_until = 0.0
                    return _standing(bool(allowed), until_full, each, most)
        return _standing(*self._ask_memory(name, each, most, spend=spend), each, most)

    async def _leave(self, error: Exception) -> None:
        """Do without Redis for a while, and begin with fresh connections after it."""
        was_away = self._away_until > 0
        self._away_until = time.monotonic() + _PAUSE_SECONDS
        if self._is_leaving:  # many may have asked at once
            return
        if not was_away:
            _log.warning(
                "rates are kept in memory while Redis is away: %s", str(error) or "no answer"
            )
        self._is_leaving = True
        try:
            with suppress(RedisError, OSError):  # one that is away does not say goodbye
                async with _time_limit():
                    await self._redis.connection_pool.disconnect(inuse_connections=False)
        finally:
            self._is_leaving = False

    def _ask_memory(
        self, name: str, each: float, most: float, *, spend: bool
    ) -> tuple[bool, float]:
        """What the script does, here."""
        now = time.monotonic() * 1e6
        full = max(self._full.get(name, now), now)
        if full - now + each > most:
            return False, full - now
        if spend:
            if len(self._full) >= _MANY:
                self._full = {each: until for each, until in self._full.items() if until > now}
            full += each
            self._full[name] = full
        return True, full - now


@asynccontextmanager
async def _time_limit() -> AsyncIterator[None]:
    """End what is done here when Redis has not answered in time.

    Counted in looks of the event loop: one that is busy elsewhere cannot hear an answer that is
    there. Raises: TimeoutError.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def look_again(looks: int) -> None:
        nonlocal timer
        if looks:
            timer = loop.call_later(_TIMEOUT_SECONDS / _LOOKS, look_again, looks - 1)
        else:
            limit.reschedule(loop.time())

    async with asyncio.timeout(None) as limit:
        look_again(_LOOKS)
        try:
            yield
        finally:
            timer.cancel()


def _standing(allowed: bool, until_full: float, each: float, most: float) -> Standing:
    room = most - until_full
    return Standing(
        allowed=allowed,
        # A hair more than is there: times are rounded on their way.
        remaining=math.floor(room / each + 1e-6) if allowed else 0,
        full_in=until_full / 1e6,
        next_in=max(0.0, each - room) / 1e6,
    )
