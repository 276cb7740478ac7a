"""Work that needs torch, for a process that does not import it.

One warm process of its own does the work, a piece at a time. It has a time limit and a cap
on memory, sees no GPU (those belong to the jobs), and ends with the process that started it.
"""

import asyncio
import ctypes
import logging
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import ParamSpec, Self, TypeVar

from services import logs
from services.errors import BadInputError, UnavailableError
from services.processes import LIBRARY_ENVIRONMENT
from services.settings import Settings
from services.turns import Turns

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

MEMORY_BYTES = 8 << 30
SECONDS = 120
# Callers that may wait for their turn; each may hold a picture in memory meanwhile.
WAITING = 32
WAITING_OF_OWNER = 4

_log = logging.getLogger(__name__)


class Workbench:
    """Starts its process at the first piece of work, and again if that was lost.

    Owners take turns, and callers read what is to be worked on when theirs has come:

        async with workbench.turn(caller.owner) as bench:
            result = await bench.run(function, await file.read())
    """

    def __init__(self, *, threads: int | None = None, seconds: int = SECONDS) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._seconds = seconds
        self._turns = Turns(waiting=WAITING, of_owner=WAITING_OF_OWNER)
        self._pool: ProcessPoolExecutor | None = None
        self._pid: int | None = None

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[Self]:
        """A turn of the owner's, once it has come.

        Raises: UnavailableError if too many wait already.
        """
        async with self._turns.turn(owner):
            yield self

    async def run(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """`function`, which a module holds by its name, done in the other process.

        Raises what it raises, BadInputError if it took too much time or memory, and
        UnavailableError if there is no process to do it.
        """
        pool = await self._ready()
        limited = partial(_limited, self._seconds, partial(function, *args, **kwargs))
        try:
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
        """The process, seen alive: what it dies of from now on is the work it was given."""
        for _ in range(2):  # it may have been lost since the last piece of work
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    max_workers=1,
                    mp_context=multiprocessing.get_context("spawn"),
                    initializer=_settle,
                    initargs=(self._threads, logs.settings_in_force()),
                )
            try:
                with _library_environment():
                    asked = self._pool.submit(os.getpid)  # starts the process, if there is none
                self._pid = await asyncio.wrap_future(asked)
            except BrokenProcessPool:
                _log.warning("the process that holds torch is lost", exc_info=True)
                self.close()
            else:
                return self._pool
        raise UnavailableError(
            "the server cannot start its process for work of this kind: its log says why"
        )


@contextmanager
def _library_environment() -> Iterator[None]:
    """Have a process that is started now compute as job processes do."""
    before = {name: os.environ.get(name) for name in LIBRARY_ENVIRONMENT}
    os.environ.update(LIBRARY_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _settle(threads: int, settings: Settings | None) -> None:
    if settings is not None:
        logs.configure_logging(settings)
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
        _trim()


def _trim() -> None:
    """Give what was freed back to the system, where the C library keeps it (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _too_much(seconds: int) -> str:
    return (
        f"this takes more than {seconds} s or {MEMORY_BYTES >> 30} GiB of memory: use a smaller "
        "loss or model, or smaller images"
    )
