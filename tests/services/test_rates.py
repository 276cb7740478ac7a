"""How often somebody may do something, kept on Redis, and here while it is away."""

import asyncio
import os
import signal
import time

import pytest
import uvloop
from redis.exceptions import TimeoutError as RedisTimeoutError

from services import rates as buckets
from services.embedded.broker import EmbeddedRedis
from services.rates import Rates
from services.settings import Settings


@pytest.fixture(autouse=True)
def _slowly_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes into a bucket while a test runs, and no pause is over."""
    monkeypatch.setattr(buckets, "WINDOW_SECONDS", 36_000)
    monkeypatch.setattr(buckets, "_PAUSE_SECONDS", 3600.0)


def test_a_redis_that_cannot_even_be_left_is_no_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def take() -> list[bool]:
        rates = Rates(settings)
        pool = rates._redis.connection_pool

        async def fail(*args: object, **options: object) -> None:
            raise RedisTimeoutError("Timed out closing connection after 0.1")

        monkeypatch.setattr(pool, "disconnect", fail)
        monkeypatch.setattr(rates, "_script", fail)
        return [(await rates.take("key:a", 1)).allowed for _ in range(2)]

    assert asyncio.run(take()) == [True, False]


def test_many_who_ask_while_redis_fails_leave_it_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left = []

    async def take() -> list[bool]:
        rates = Rates(settings)

        async def fail(**_: object) -> None:
            await asyncio.sleep(0.01)
            raise RedisTimeoutError("no connection available")

        async def leave(**_: object) -> None:
            left.append(True)
            await asyncio.sleep(0.01)

        monkeypatch.setattr(rates._redis.connection_pool, "disconnect", leave)
        monkeypatch.setattr(rates, "_script", fail)
        taken = await asyncio.gather(*(rates.take("key:a", 15) for _ in range(20)))
        return [standing.allowed for standing in taken]

    assert sorted(asyncio.run(take())) == [False] * 5 + [True] * 15
    assert len(left) == 1
    assert [record.message for record in caplog.records] == [
        "rates are kept in memory while Redis is away: no connection available"
    ]


async def _take_at_once(rates: Rates, times: int) -> int:
    """How many of so many who ask at once are allowed, by a bucket of ten."""
    taken = await asyncio.gather(*(rates.take("key:a", 10) for _ in range(times)))
    return sum(standing.allowed for standing in taken)


def test_however_many_ask_at_once_are_counted_on_redis(
    settings: Settings,
    broker: EmbeddedRedis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(buckets, "_TIMEOUT_SECONDS", 60.0)

    async def take() -> tuple[int, bool]:
        allowed = await _take_at_once(rates := Rates(settings), 500)
        other = await Rates(settings).look("key:a", 10)  # has no memory of it
        await rates.close()
        return allowed, other.allowed

    assert uvloop.run(take()) == (10, False)
    assert caplog.messages == []


@pytest.mark.parametrize("is_connected", [True, False])
def test_an_event_loop_that_is_busy_does_not_take_redis_for_away(
    settings: Settings,
    broker: EmbeddedRedis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_connected: bool,
) -> None:
    monkeypatch.setattr(buckets, "_LOOKS", 500)  # while Redis, too, has to wait for its turn

    async def keep_busy() -> None:
        while True:
            time.sleep(0.12)
            await asyncio.sleep(0)

    async def take() -> tuple[int, bool]:
        rates = Rates(settings)
        if is_connected:
            with monkeypatch.context() as patch:
                patch.setattr(buckets, "_TIMEOUT_SECONDS", 60.0)
                await rates.look("key:a", 10)
        busy = asyncio.create_task(keep_busy())
        allowed = await _take_at_once(rates, 14)
        busy.cancel()
        monkeypatch.setattr(buckets, "_TIMEOUT_SECONDS", 60.0)
        other = await Rates(settings).look("key:a", 10)
        await rates.close()
        return allowed, other.allowed

    assert uvloop.run(take()) == (10, False)
    assert caplog.messages == []


def test_many_who_wait_for_their_turn_at_a_silent_redis_are_not_held_up(
    settings: Settings,
    broker: EmbeddedRedis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(buckets, "_TIMEOUT_SECONDS", 2.0)

    async def take() -> tuple[int, float]:
        rates = Rates(settings)
        started = time.monotonic()
        allowed = await _take_at_once(rates, 500)
        return allowed, time.monotonic() - started

    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        allowed, seconds = uvloop.run(take())
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    assert allowed == 10
    assert 2 <= seconds < 30  # not one after the other: that would take a minute
    assert caplog.messages == ["rates are kept in memory while Redis is away: no answer"]
