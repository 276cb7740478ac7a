"""How often somebody may do something, kept on Redis, and here while it is away."""

import asyncio

import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.rates import Rates
from services.settings import Settings


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
