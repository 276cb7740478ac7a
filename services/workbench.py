"""Work that needs torch, for a process that does not import it.

Warm processes of its own do the work, each a piece at a time. They have a time limit and a cap
on memory, see no GPU (those belong to the jobs), and end with the process that started them.
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
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

from services import logs
from services.errors import BadInputError, UnavailableError
from services.processes import LIBRARY_ENVIRONMENT
from services.settings import Settings
from services.turns import Turns

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

MEMORY_BYTES = 8 << 30
SECONDS = 120
BENCHES = 2
# Callers that may wait for their turn; each may hold a picture in memory meanwhile.
WAITING = 32
WAITING_OF_OWNER = 4

_log = logging.getLogger(__name__)


class Bench:
    """One process for one piece of work at a time, started at the first."""

    def __init__(self, threads: int, seconds: int) -> None:
        self._threads = threads
        self._seconds = seconds
        self._pool: ProcessPoolExecutor | None = None
        self._pid: int | None = None
        self._work: Future[Any] | None = None  # the last piece of the turn
        self._is_closed = False

    async def run(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """`function`, which a module holds by its name, done in the other process.

        Who is canceled meanwhile waits no longer; the work goes on to its end.
        Raises what it raises, BadInputError if it took too much time or memory, and
        UnavailableError if there is no process to do it.
        """
        pool = await self._ready()
        limited = partial(_limited, self._seconds, partial(function, *args, **kwargs))
        try:
            self._work = pool.submit(limited)  # in no variable, of which an error would be a part
            result: Result = await asyncio.wrap_future(self._work)
        except BrokenProcessPool as error:
            self._end()
            raise BadInputError(_too_much(self._seconds)) from error
        return result

    def when_idle(self, action: Callable[[], None]) -> None:
        """Have it done on the event loop once no work is under way: at once, if none is now."""
        work, self._work = self._work, None  # which holds its result, or all that led to an error
        if work is None or work.done():
            action()
            return
        loop = asyncio.get_running_loop()

        def ended(_work: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(action)

        work.add_done_callback(ended)

    def close(self) -> None:
        """End the process, whatever it does, for good."""
        self._is_closed = True
        self._end()

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._pool = self._pid = None

    async def _ready(self) -> ProcessPoolExecutor:
        """The process, seen alive: what it dies of from now on is the work it was given."""
        for _ in range(2):  # it may have been lost since the last piece of work
            if self._is_closed:
                raise UnavailableError("the server stops")
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
                _log.warning("a process that holds torch is lost", exc_info=True)
                self._end()
            else:
                return self._pool
        raise UnavailableError(
            "the server cannot start its process for work of this kind: its log says why"
        )


class Workbench:
    """Benches for all owners: one has one at a time, so that another's work goes on beside it.

    Owners take turns, and callers read what is to be worked on when theirs has come:

        async with workbench.turn(caller.owner) as bench:
            result = await bench.run(function, await file.read())
    """

    def __init__(self, *, threads: int | None = None, seconds: int = SECONDS) -> None:
        self._turns = Turns(
            lanes=BENCHES, lanes_of_owner=1, waiting=WAITING, waiting_of_owner=WAITING_OF_OWNER
        )
        threads = threads or os.cpu_count() or 1
        self._benches = tuple(Bench(threads, seconds) for _ in range(BENCHES))
        # What was used last is used next: the second process starts when two owners meet.
        self._idle = list(self._benches)

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[Bench]:
        """A turn of the owner's, once it has come.

        Raises: UnavailableError if too many wait already.
        """
        await self._turns.take(owner)
        bench = self._idle.pop()

        def end() -> None:
            self._idle.append(bench)
            self._turns.pass_on(owner)

        try:
            yield bench
        finally:
            bench.when_idle(end)

    def close(self) -> None:
        """End the processes, whatever they do."""
        for bench in self._benches:
            bench.close()


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
