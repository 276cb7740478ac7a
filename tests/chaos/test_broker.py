"""The broker may die, forget or fall silent: no job is lost, and slots hear of jobs again soon."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from services.database.schema import now
from services.installation import Installation
from services.settings import Settings

RESUMES_SECONDS = 15.0
"""From when the broker is back and a slot is free, at most, until that has a job that waits."""


class BlackHole(threading.Thread):
    """A TCP port before a Redis; when it is `dark` it takes all bytes and passes none on.

    Nothing is refused, closed or told to either side, as when a cable is cut.
    """

    def __init__(self, target: Path) -> None:
        super().__init__(daemon=True)
        self.dark = False
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]

    def run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, client: socket.socket) -> None:
        while self.dark:  # it is connected, and that is all
            time.sleep(0.05)
        server = socket.socket(socket.AF_UNIX)
        with client, server, suppress(OSError):
            server.connect(str(self._target))
            back = threading.Thread(target=self._pass, args=(server, client), daemon=True)
            back.start()
            self._pass(client, server)
            back.join()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self.dark:
                    target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def settings(tmp_path: Path, figures) -> Settings:
    """As they are by default, for times are measured; the short form does not wait so long."""
    sooner = {} if figures.form == "full" else {"redispatch_seconds": 2}
    return Settings(home=tmp_path / "home", disk_floor_bytes=0, threads=1, **sooner)


@pytest.fixture
def hole(settings: Settings) -> Iterator[BlackHole]:
    opened = BlackHole(settings.broker_socket)
    opened.start()
    yield opened
    opened.close()


@pytest.fixture
def far_house(
    bare_house, installation: Installation, seed_image, broker, hole: BlackHole, tmp_path: Path
) -> Iterator[Any]:
    """A house that reaches its broker through the black hole."""
    url = SecretStr(f"redis://127.0.0.1:{hole.port}/0")
    far = replace(
        installation, settings=installation.settings.model_copy(update={"redis_url": url})
    )
    opened = type(bare_house)(far, seed_image, tmp_path)
    yield opened
    opened.close()


def test_a_broker_that_is_killed_or_forgets_loses_no_job(house, broker, count, chance, figures):
    _start(house)
    with figures("5", "Redis `kill -9`", count(short=1, full=20)) as scenario:
        for _ in range(scenario.count):
            with _broken(house, scenario) as waiting:
                os.kill(broker.pid, signal.SIGKILL)
                time.sleep(chance.uniform(0, 3))
                waiting.append(_submit(house))
                broker.start()
    with figures("5", "Redis FLUSHALL", count(short=1, full=5)) as scenario:
        for _ in range(scenario.count):
            with _broken(house, scenario):
                time.sleep(chance.uniform(0, 1))
                house.dispatcher._redis.flushall()


def test_a_broker_that_is_silent_for_a_minute_loses_no_job(far_house, broker, hole, count, figures):
    seconds = 60 if figures.form == "full" else 3
    redis = psutil.Process(broker.pid)
    _start(far_house)
    with figures("5", f"Redis a black hole for {seconds} s", count(short=1, full=5)) as lost:
        for _ in range(lost.count):
            with _broken(far_house, lost) as waiting:
                hole.dark = True
                waiting.append(_wait(far_house, seconds))
                hole.dark = False
    with figures("5", f"Redis answers {seconds} s late", count(short=1, full=5)) as late:
        for _ in range(late.count):
            with _broken(far_house, late) as waiting:
                redis.suspend()  # it takes connections and bytes all the same
                waiting.append(_wait(far_house, seconds))
                redis.resume()


def _wait(house, seconds: float) -> str:
    """Submit a job, and return it after that time in all."""
    end = time.monotonic() + seconds
    job_id = _submit(house)
    time.sleep(max(0.0, end - time.monotonic()))
    return job_id


def _start(house) -> None:
    for _ in range(2):
        house.worker()
    for job_id in [house.submit("steps=1") for _ in range(2)]:
        house.wait_for_end(job_id, seconds=60)


def _submit(house) -> str:
    """A job comes as it does through the API, whether or not its message arrives."""
    job_id: str = house.submit("steps=2", announce=False)
    house.dispatcher.announce(job_id, "discriminator_training")
    return job_id


@contextmanager
def _broken(house, scenario) -> Iterator[list[str]]:
    """Break the broker inside, with both slots busy and jobs waiting; then all must be done.

    Nothing is submitted after that: its message would wake a slot, which takes what waits longest.
    """
    long = [house.submit("steps=50") for _ in range(2)]
    for job_id in long:
        house.wait_for(job_id, "running")
    waiting = [house.submit("steps=2")]
    yield waiting
    back = now()
    done = {job_id: house.wait_for_end(job_id, seconds=120) for job_id in [*long, *waiting]}
    for job_id, job in done.items():
        if (job.state, job.attempt) != ("succeeded", 1):
            scenario.violate(f"{job_id} is {job.state} after {job.attempt} attempts: {job.error}")
    free = sorted(max(back, done[job_id].finished) for job_id in long)
    started = sorted(done[job_id].started for job_id in waiting)
    for slot, job in zip(free, started, strict=False):  # a slot may have none, and take none
        seconds = max(0.0, (job - slot).total_seconds())  # it may be the other slot that takes it
        scenario.time("dispatch resumes", seconds, max=RESUMES_SECONDS)
