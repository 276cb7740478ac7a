"""The API's process: one event loop that ends its streams first when it stops."""

import asyncio
import ctypes
import gc
import logging
import resource
import socket
import sys
from contextlib import suppress

import psutil
import uvicorn

from api.app import create_app
from api.connections import Connection, PageConnection
from api.runtime import Runtime
from services.exposure import check_host
from services.installation import Installation

# Of a stop: for requests that are being answered.
GRACE_SECONDS = 3
# Each client is one, and the usual limit of 1024 was made for another time.
DESCRIPTORS = 65_536
# Of what a page of the studio sends at once: files go by requests of their own.
MAX_MESSAGE_BYTES = 1 << 20
# Memory in blocks of this size goes back to the system as soon as it is freed.
LARGE_BLOCK_BYTES = 1 << 18
# Of the collector's second generation, between two that go through everything: fifty times as many
# as by itself.
MIDDLE_COLLECTIONS = 500
# By so much, in all or in small blocks (some 12 MB), the process may grow before the collector goes
# through everything all the same.
GROWTH_BYTES = 64 << 20
GROWTH_BLOCKS = 125_000
LOOK_SECONDS = 1.0
_M_MMAP_THRESHOLD = -3  # glibc's <malloc.h>

_log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Uvicorn, with event streams that end when the server is asked to."""

    def __init__(self, installation: Installation) -> None:
        settings = installation.settings
        app = create_app(installation)
        self._runtime: Runtime = app.state.runtime
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                loop="uvloop",
                http=Connection,
                ws=PageConnection,
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_per_message_deflate=False,  # what is sent small takes no memory unnoticed
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=True,
                forwarded_allow_ips=settings.trusted_proxies,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )

    async def main_loop(self) -> None:
        """Serve, and bound what garbage takes meanwhile."""
        bound = asyncio.create_task(bound_garbage(), name="garbage")
        await super().main_loop()
        bound.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then all else."""
        self._runtime.feeds.end_streams()
        await super().shutdown(sockets)


def prepare(installation: Installation) -> Server:
    """A server that is ready to run, until SIGINT or SIGTERM, and its process with it."""
    check_host(installation.database, installation.settings.host)
    _raise_descriptor_limit()
    _return_large_blocks()
    # Its lines name the ids by which open pages are spoken with, or tell at length of bad bytes.
    logging.getLogger("uvicorn.error").addFilter(_is_told)
    return Server(installation)


def collect_seldom() -> None:
    """Let the garbage collector, off until now, begin; without what is there by now, which stays.

    While it goes through all else, everybody waits: with a thousand streams, for a third of a
    second, and by itself every nine seconds. So it is on Python 3.11 to 3.13; 3.14 has no use for
    the third threshold.
    """
    gc.freeze()  # 1.7 MB of it are garbage, which took 0.3 s to find
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, MIDDLE_COLLECTIONS)
    gc.enable()


async def bound_garbage() -> None:
    """Have the collector go through everything whenever the process has grown.

    What is garbage only after long use is hardly found otherwise: 1,200 pages of the studio, opened
    and left, made a process of 165 MB one of 534. Growth counts from what was left the last time,
    and of small blocks, which the process keeps room for when they go, from the fewest since then.
    """
    process = psutil.Process()
    size, blocks = process.memory_info().rss, sys.getallocatedblocks()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        blocks = min(blocks, sys.getallocatedblocks())
        with suppress(OSError):  # no descriptor is left to look with
            grown = process.memory_info().rss - size, sys.getallocatedblocks() - blocks
            if grown[0] > GROWTH_BYTES or grown[1] > GROWTH_BLOCKS:
                gc.collect()
                size, blocks = process.memory_info().rss, sys.getallocatedblocks()


def _is_told(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(('%s - "WebSocket', "Invalid UTF-8 sequence"))


def _raise_descriptor_limit() -> None:
    """Let this process have as many connections as the system's hard limit grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < DESCRIPTORS:
        _log.warning("at most %d files and connections may be open: ulimit -Hn", wanted)


def _return_large_blocks() -> None:
    """Keep no files that were uploaded in the heap once they are done with.

    By itself glibc learns from large blocks that are freed to keep such, up to 32 MiB each and in
    a heap for each thread: tens of megabytes. Other C libraries have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
