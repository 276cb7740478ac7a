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
