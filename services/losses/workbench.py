"""Work that needs torch, for a process that does not import it.

One warm process of its own does the work, a piece at a time. It has a time limit and a cap
on memory, sees no GPU (those belong to the jobs), and ends with the process that started it.
"""

import asyncio
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

from services.errors import BadInputError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

MEMORY_BYTES = 8 << 30
SECONDS = 120


class Workbench:
    """Starts its process at the first piece of work, and again if that was lost."""

    def __init__(self, *, threads: int | None = None, seconds: int = SECONDS) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._pid: int | None = None

    async def run(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """`function`, which a module holds by its name, done in the other process.

        Raises what it raises, and BadInputError if it took too much time or memory.
        """
        async with self._turn:
            try:
                pool = await self._ready()
                limited = partial(_limited, self._seconds, partial(function, *args, **kwargs))
                return await asyncio.wrap_future(pool.submit(limited))
            except BrokenProcessPool as error:
                self.close()
                raise BadInputError(_too_much(self._seconds)) from error

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._pool = self._pid = None

    async def _ready(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                max_workers=1,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_settle,
                initargs=(self._threads,),
            )
            self._pid = await asyncio.wrap_future(self._pool.submit(os.getpid))
        return self._pool


def _settle(threads: int) -> None:
    os.environ.update(CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS=str(threads))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _limited(seconds: int, work: Callable[[], Result]) -> Result:
    signal.alarm(seconds)  # nobody handles it: it ends the process
    try:
        return work()
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        raise BadInputError(_too_much(seconds)) from None
    finally:
        signal.alarm(0)


def _too_much(seconds: int) -> str:
    return (
        f"this takes more than {seconds} s or {MEMORY_BYTES >> 30} GiB of memory: use a smaller "
        "loss or smaller images"
    )
