"""The processes that hold torch: whose work they do, for how long, and what they keep of it."""

import asyncio
import gc
import os
import signal
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class Signs:
    """Files by which work in another process, and the test, wait for each other."""

    folder: Path

    def work(self) -> int:
        """Say that it has begun, and last until it may end; gives the process's id."""
        (self.folder / "begun").touch()
        while not (self.folder / "end").exists():
            time.sleep(0.01)
        return os.getpid()

    async def begun(self) -> None:
        while not (self.folder / "begun").exists():
            await asyncio.sleep(0.01)

    def end(self) -> None:
        (self.folder / "end").touch()


class Upload:
    """What a request holds."""

    def __init__(self, content: str) -> None:
        self.content = content


async def work_of(benches: Workbench, owner: str, work: Callable[[], Result]) -> Result:
    async with benches.turn(owner) as bench:
        return await bench.run(work)


async def pid_of(benches: Workbench, owner: str) -> int:
    return await work_of(benches, owner, os.getpid)


def test_memory_that_work_has_freed_goes_back_to_the_system() -> None:
    async def before_within_and_after() -> list[int]:
        async with opened() as benches, benches.turn("anna") as bench:
            return [await bench.run(work) for work in (memory, fill, memory)]

    before, within, after = play(before_within_and_after)
    assert within - before > 80
    assert after - before < 20


def test_one_owner_s_long_work_holds_up_their_own_only(tmp_path: Path) -> None:
    async def work() -> None:
        signs = Signs(tmp_path)
        async with opened() as benches:
            first = await pid_of(benches, "anna")
            assert await pid_of(benches, "bob") == first, "one process, until two owners meet"
            long = asyncio.create_task(work_of(benches, "anna", signs.work))
            await signs.begun()
            own = asyncio.create_task(pid_of(benches, "anna"))
            other = await pid_of(benches, "bob")
            assert await pid_of(benches, "carol") == other
            assert not long.done()
            assert not own.done()
            signs.end()
            assert await long == first != other
            assert await own == first, "which was used last"

    play(work)


def test_who_waits_no_longer_for_their_work_has_no_other_done_beside_it(tmp_path: Path) -> None:
    async def work() -> None:
        signs = Signs(tmp_path)
        async with opened() as benches:
            busy = await pid_of(benches, "anna")
            given_up = asyncio.create_task(work_of(benches, "anna", signs.work))
            await signs.begun()
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            own = asyncio.create_task(pid_of(benches, "anna"))
            for owner in ("bob", "carol", "dave"):
                assert await pid_of(benches, owner) != busy
            assert not own.done()
            signs.end()
            assert await own == busy

    play(work)


def test_work_that_was_given_up_and_lost_gives_its_place_back(tmp_path: Path) -> None:
    async def work() -> None:
        signs = Signs(tmp_path)
        async with opened() as benches:
            busy = await pid_of(benches, "anna")
            given_up = asyncio.create_task(work_of(benches, "anna", signs.work))
            await signs.begun()
            given_up.cancel()
            os.kill(busy, signal.SIGKILL)
            assert await pid_of(benches, "anna") != busy

    play(work)


def test_nothing_of_work_that_has_ended_is_kept() -> None:
    async def answer(benches: Workbench) -> "weakref.ref[Upload]":
        upload = Upload("7")
        async with benches.turn("anna") as bench:
            assert await bench.run(int, upload.content) == 7
        return weakref.ref(upload)

    async def refusal(benches: Workbench) -> "weakref.ref[Upload]":
        upload = Upload("seven")
        with suppress(ValueError):
            async with benches.turn("anna") as bench:
                await bench.run(int, upload.content)
                pytest.fail("this is no number")
        return weakref.ref(upload)

    async def work() -> None:
        async with opened() as benches:
            for request in (answer, refusal):
                upload = await request(benches)
                async with asyncio.timeout(20):  # the pool's thread may have it for a moment still
                    while upload() is not None:
                        await asyncio.sleep(0.01)
                assert all(bench._work is None for bench in benches._benches)

    gc.disable()  # nor is it there until a collection
    try:
        play(work)
    finally:
        gc.enable()


def test_nothing_is_begun_once_it_is_closed(tmp_path: Path) -> None:
    async def work() -> None:
        signs = Signs(tmp_path)
        benches = Workbench(threads=1)
        at_work = asyncio.create_task(work_of(benches, "anna", signs.work))
        await signs.begun()
        waiting = asyncio.create_task(pid_of(benches, "anna"))
        await asyncio.sleep(0)
        benches.close()
        with pytest.raises(BadInputError):
            await at_work
        with pytest.raises(UnavailableError, match="the server stops"):
            await waiting

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
