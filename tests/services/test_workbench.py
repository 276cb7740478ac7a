"""The processes that hold torch: whose work they do, for how long, and what they keep of it."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import psutil
import pytest

from services import workbench
from services.errors import BadInputError, UnavailableError
from services.workbench import Workbench

Result = TypeVar("Result")
_kept: list[bytes] = []


def fill() -> int:
    """Take 100 MB in small pieces and keep the last: what lies before it is free. Gives the MB."""
    pieces = [bytes(2000) for _ in range(50_000)]
    _kept.append(pieces[-1])
    return memory()


def memory() -> int:
    return psutil.Process().memory_full_info().uss >> 20


@asynccontextmanager
async def opened(*, seconds: int = 60) -> AsyncIterator[Workbench]:
    """A workbench, for a while."""
    benches = Workbench(threads=1, seconds=seconds)
    try:
        yield benches
    finally:
        benches.close()


def play(scene: Callable[[], Awaitable[Result]]) -> Result:
    async def work() -> Result:
        return await asyncio.wait_for(scene(), 60)

    return asyncio.run(work())


async def pid_of(benches: Workbench, owner: str) -> int:
    async with benches.turn(owner) as bench:
        return await bench.run(os.getpid)


async def sleep(benches: Workbench, owner: str, seconds: float) -> None:
    async with benches.turn(owner) as bench:
        await bench.run(time.sleep, seconds)


def test_memory_that_work_has_freed_goes_back_to_the_system() -> None:
    async def before_within_and_after() -> list[int]:
        async with opened() as benches, benches.turn("anna") as bench:
            return [await bench.run(work) for work in (memory, fill, memory)]

    before, within, after = play(before_within_and_after)
    assert within - before > 80
    assert after - before < 20


def test_one_owner_s_long_work_holds_up_their_own_only() -> None:
    async def work() -> None:
        async with opened() as benches:
            anna = await pid_of(benches, "anna")
            assert await pid_of(benches, "bob") == anna, "one process, until two owners meet"
            long = asyncio.create_task(sleep(benches, "anna", 4))
            own = asyncio.create_task(pid_of(benches, "anna"))
            await asyncio.sleep(0)  # they ask first
            assert await pid_of(benches, "bob") != anna
            assert not long.done()
            assert not own.done()
            await long
            assert await own == anna, "whose process was used last"

    play(work)


def test_who_waits_no_longer_for_their_work_has_no_other_done_beside_it() -> None:
    async def work() -> None:
        async with opened() as benches:
            anna, bob = await asyncio.gather(pid_of(benches, "anna"), pid_of(benches, "bob"))
            assert anna != bob
            busy = await pid_of(benches, "anna")
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(sleep(benches, "anna", 3), 0.5)
            own = asyncio.create_task(pid_of(benches, "anna"))
            for owner in ("bob", "carol", "dave"):
                assert await pid_of(benches, owner) != busy
            assert time.monotonic() - began < 2.5
            assert not own.done()
            await own
            assert time.monotonic() - began >= 3

    play(work)


def test_work_that_takes_too_long_is_ended_and_the_next_is_done() -> None:
    async def work() -> int:
        async with opened(seconds=1) as benches:
            async with benches.turn("anna") as bench:
                with pytest.raises(BadInputError, match="more than 1 s"):
                    await bench.run(time.sleep, 30)
            async with benches.turn("anna") as bench:
                return await bench.run(abs, -3)

    assert play(work) == 3


def test_a_process_that_was_lost_meanwhile_is_not_blamed_on_the_next_work() -> None:
    async def work() -> int:
        async with opened() as benches, benches.turn("anna") as bench:
            os.kill(await bench.run(os.getpid), signal.SIGKILL)
            return await bench.run(abs, -3)

    assert play(work) == 3


def test_a_process_that_does_not_start_is_no_fault_of_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workbench, "_settle", os._exit)

    async def work() -> None:
        async with opened() as benches, benches.turn("anna") as bench:
            with pytest.raises(UnavailableError, match="cannot start its process"):
                await bench.run(abs, -3)

    play(work)
