"""The process that holds torch: what it keeps of the work it has done."""

import asyncio

import psutil

from services.workbench import Workbench

_kept: list[bytes] = []


def fill() -> int:
    """Take 100 MB in small pieces and keep the last: what lies before it is free. Gives the MB."""
    pieces = [bytes(2000) for _ in range(50_000)]
    _kept.append(pieces[-1])
    return memory()


def memory() -> int:
    return psutil.Process().memory_full_info().uss >> 20


def test_memory_that_work_has_freed_goes_back_to_the_system() -> None:
    async def before_within_and_after() -> list[int]:
        workbench = Workbench(threads=1)
        try:
            async with workbench.turn("anna") as bench:
                return [await bench.run(work) for work in (memory, fill, memory)]
        finally:
            workbench.close()

    before, within, after = asyncio.run(before_within_and_after())
    assert within - before > 80
    assert after - before < 20
