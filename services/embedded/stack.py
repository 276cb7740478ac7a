"""The embedded stack: broker, worker slots and API as children of one process."""

import fcntl
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from sqlalchemy.exc import OperationalError

from services import backup, exposure
from services.embedded.broker import EmbeddedRedis
from services.errors import ServiceError
from services.installation import Installation
from services.jobs import deaths
from services.processes import tethered
from services.settings import Settings

_WATCH_SECONDS = 0.2
_READY_SECONDS = 60.0
_LOCK_SECONDS = 15.0
_MAX_PAUSE_SECONDS = 10.0
_LOG_BYTES = 10 * 1024 * 1024
# This machine is asked itself, whatever proxy the environment names.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_log = logging.getLogger(__name__)


class StackError(ServiceError):
    """The stack cannot start here."""


@dataclass
class _Pause:
    """Before something is tried again: longer after each failure."""

    seconds: float = 0.0
    end: float = 0.0

    def grow(self) -> None:
        self.seconds = min(_MAX_PAUSE_SECONDS, 2 * self.seconds + 0.5)
        self.end = time.monotonic() + self.seconds

    def is_over(self) -> bool:
        return time.monotonic() >= self.end


@dataclass
class _Child:
    """One process of the stack, and when to start it again should it end."""

    name: str
    command: Sequence[str]
    stop_seconds: float  # after which a process that was told to stop is killed
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: _Pause = field(default_factory=_Pause)


class Stack:
    """Everything that `mdf serve` runs.

    `tell` is called with a line whenever something happens that a person may want to know.
    The children end with this process, however it ends.
    """

    def __init__(self, settings: Settings, *, tell: Callable[[str], None] = _log.info) -> None:
        self._settings = settings
        self._listener = tell
        self._home = settings.home_folder
        self._stopping = threading.Event()
        self._signals = 0  # to stop, that have come
        self._lock: int | None = None
        self._watcher: threading.Thread | None = None
        self._failure: ServiceError | None = None
        self._up = threading.Event()
        self._broker_pause = _Pause()
        self._broker = (
            EmbeddedRedis(settings.broker_socket, self._home / "redis")
            if settings.redis_url is None
            else None
        )
        python = (sys.executable, "-P", "-m")
        self._workers = [
            _Child(f"worker-{slot}", (*python, "workers", "--slot", str(slot)), 75.0)
            for slot in range(settings.slots)
        ]
        if settings.slots:
            # One more, for what is short: restoring and importing never wait for a training.
            light = ("workers", "--slot", str(settings.slots), "--queues", "restore,prepare")
            self._workers.append(_Child("worker-light", (*python, *light), 75.0))
        self._api = _Child("api", (*python, "api"), 10.0)

    @property
    def url(self) -> str:
        """Where the API listens."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{self._settings.port}"

    def start(self) -> bool:
        """Start everything; returns True when the API answers, False if told to stop before.

        Raises: StackError if it cannot; DatabaseUnusableError or ConflictError for the sake of
        the database, as `Installation.at_this_version` says.
        """
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = self._take_lock()
        try:
            self._check_port()
            with Installation.at_this_version(self._settings) as installation:
                exposure.check_host(installation.database, self._settings.host)
                # What died with the stack before need not wait for a worker to come up; with the
                # disk full, it waits all the same.
                with suppress(OperationalError):
                    deaths.take_back(installation)
            backup.clear_home(self._home)
            # All children are made by this thread: the kernel ties their lives to it.
            self._watcher = threading.Thread(target=self._watch, name="stack", daemon=True)
            self._watcher.start()
            return self._await_ready()
        except BaseException:
            self.stop()
            raise

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Within, SIGINT, SIGTERM and SIGHUP have the stack stop; for the main thread.

        `start` and `wait` return then. While it stops, the second SIGINT or SIGTERM is told what
        goes on, and the third ends this process at once, and all children with it.
        """
        heeded = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as `nohup` has it
            heeded.append(signal.SIGHUP)
        previous = {number: signal.signal(number, self._on_signal) for number in heeded}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def wait(self) -> None:
        """Return when the stack was told to stop.

        Raises StackError if the stack cannot go on.
        """
        self._stopping.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Stop in order: no new requests, jobs put down at a checkpoint, then the broker."""
        self._stopping.set()
        if self._watcher is not None:
            impatient = False
            while self._watcher.is_alive():
                self._watcher.join(_WATCH_SECONDS)
                if self._signals > 1 and not impatient:
                    impatient = True
                    self._tell("still saving what runs; once more ends it at once")
            self._watcher = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # Whatever it interrupts may hold locks, those of events and of the terminal too: it is
        # counted here, and heeded elsewhere.
        if number == signal.SIGHUP:  # of one terminal that closes, several come
            self._signals = max(1, self._signals)
            return
        self._signals += 1
        if self._signals > 2:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _take_lock(self) -> int:
        """One stack per home. The children inherit the lock: it lasts as long as any of them."""
        descriptor = os.open(self._home / "stack.lock", os.O_RDWR | os.O_CREAT, 0o600)
        end = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 32, 0).decode().strip()
                if time.monotonic() > end or _runs(holder):
                    os.close(descriptor)
                    raise StackError(
                        f"MDF runs already in {self._home} (process {holder or 'unknown'}): "
                        "use that one, stop it, or name another folder in MDF_HOME"
                    ) from None
                time.sleep(0.1)
            else:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                return descriptor

    def _check_port(self) -> None:
        family = socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._settings.host, self._settings.port))
            except OSError as error:
                raise StackError(
                    f"cannot listen on {self._settings.host} port {self._settings.port}: "
                    f"{error.strerror}. Name a free port in MDF_PORT"
                ) from error

    def _watch(self) -> None:
        """Start the children, start again those that end, and stop them all in the end."""
        try:
            if self._broker is not None:
                self._broker.start()
            for child in (self._api, *self._workers):
                self._spawn(child)
            self._up.set()
            while not (self._signals or self._stopping.wait(_WATCH_SECONDS)):
                self._watch_broker()
                for child in (self._api, *self._workers):
                    self._watch_child(child)
                    self._limit_log(child)
        except ServiceError as error:
            self._failure = error
        except OSError as error:
            self._failure = StackError(f"cannot start a process: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, `wait` raises it
            _log.exception("the stack failed")
            self._failure = StackError(f"the stack failed: {error!r}")
        finally:
            self._stopping.set()
            self._up.set()
            self._stop_children()

    def _watch_broker(self) -> None:
        if self._broker is None or self._broker.is_alive() or not self._broker_pause.is_over():
            return
        self._tell("the broker ended; it is started again")
        try:
            self._broker.start()
        except (ServiceError, OSError) as error:
            self._broker_pause.grow()
            self._tell(f"the broker does not start: {error}")
        else:
            self._broker_pause = _Pause()

    def _watch_child(self, child: _Child) -> None:
        if child.process is None:
            if child.pause.is_over():
                self._spawn_again(child)
        elif child.process.poll() is not None:
            code = child.process.returncode
            lasted = time.monotonic() - child.started
            # One that ran well comes back at once; one that ends at its start, ever later.
            if lasted > 10:
                child.pause = _Pause()
            else:
                child.pause.grow()
            child.process = None
            log = self._log_file(child)
            self._tell(f"{child.name} ended with {code} and is started again; its log: {log}")

    def _spawn_again(self, child: _Child) -> None:
        try:
            self._spawn(child)
        except OSError as error:  # no memory, say, or no disk: it may pass
            child.pause.grow()
            self._tell(f"{child.name} cannot be started: {error}")

    def _spawn(self, child: _Child) -> None:
        assert self._lock is not None  # noqa: S101 - for the type checker
        path = self._log_file(child)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with path.open("ab") as log:
            child.process = subprocess.Popen(  # noqa: S603 - our own programs
                tethered(child.command),
                env={**os.environ, **self._settings.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self._lock,),
                start_new_session=True,  # Ctrl-C is this process's to handle
            )
        child.started = time.monotonic()

    def _limit_log(self, child: _Child) -> None:
        """Put a long log aside while it is written: its file stays, and begins anew.

        What is written between the copy and the cut is lost.
        """
        path = self._log_file(child)
        with suppress(OSError):  # there is none: no log is a reason to stop
            if path.stat().st_size > _LOG_BYTES:
                with suppress(OSError):  # a full disk, say: then the log is what can be spared
                    shutil.copyfile(path, path.with_suffix(".log.1"))
                os.truncate(path, 0)

    def _stop_children(self) -> None:
        self._stop([self._api])
        self._stop(self._workers)
        if self._broker is not None:
            self._broker.stop()

    def _stop(self, children: Sequence[_Child]) -> None:
        running = [child for child in children if child.process is not None]
        for child in running:
            _process(child).terminate()
        for child in running:
            process = _process(child)
            try:
                process.wait(child.stop_seconds)
            except subprocess.TimeoutExpired:
                self._tell(f"{child.name} does not stop and is killed")
                process.kill()
                process.wait()
            child.process = None

    def _await_ready(self) -> bool:
        self._up.wait()
        end = time.monotonic() + _READY_SECONDS
        while time.monotonic() < end:
            if self._failure is not None:
                raise self._failure
            if self._api.pause.seconds > 0:  # it ended at its start
                break
            if self._stopping.is_set():
                return False
            if self._answers():
                return True
            time.sleep(0.05)
        log = self._log_file(self._api)
        raise StackError(f"the API did not start; the end of {log}:\n{_tail(log)}")

    def _answers(self) -> bool:
        try:
            with _DIRECT.open(f"{self.url}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _tell(self, line: str) -> None:
        try:
            self._listener(line)
        except OSError as error:  # the terminal is gone; the service need not go with it
            _log.warning("%s (not told: %s)", line, error)

    def _log_file(self, child: _Child) -> Path:
        return self._home / "logs" / f"{child.name}.log"


def _process(child: _Child) -> subprocess.Popen[bytes]:
    assert child.process is not None  # noqa: S101 - for the type checker
    return child.process


def _runs(pid: str) -> bool:
    return pid.isdigit() and Path(f"/proc/{pid}").exists()


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
