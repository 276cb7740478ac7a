"""A PostgreSQL server for tests, where its programs are installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


class Server:
    """A server on a unix socket, with its data in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"

    def url(self, database: str = "postgres") -> str:
        """Where one of its databases is."""
        return f"postgresql+psycopg://mdf@/{database}?host={self._folder}"

    def set_up(self) -> None:
        """Make its folders; the server refuses to run as root."""
        self._folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(self._folder, "nobody")
        self._run("initdb", "-U", "mdf", "--auth=trust", "--no-sync")

    def start(self) -> None:
        """Start it; returns when it answers."""
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off"
        self._run("pg_ctl", "-o", options, "-l", str(self._folder / "log"), "-w", "start")

    def kill(self) -> None:
        """End it without a warning; returns when its processes have followed it."""
        first, *others = self._processes()
        first.kill()
        assert psutil.wait_procs([first, *others], timeout=60)[1] == []

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """For the block no process of it does anything."""
        stopped = self._processes()
        for process in stopped:
            process.suspend()
        yield
        for process in stopped:
            process.resume()

    def _processes(self) -> list[psutil.Process]:
        """The one that takes connections, and its children."""
        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        first = psutil.Process(pid)
        return [first, *first.children()]

    def stop(self) -> None:
        """End it, whoever is connected."""
        self._run("pg_ctl", "-m", "immediate", "stop")

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """The URL of an empty database, which is there for the block."""
        engine = create_engine(self.url(), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        yield self.url(name)
        engine.dispose()  # what was connected may not have outlived the block
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        engine.dispose()

    def _run(self, program: str, *arguments: str) -> None:
        as_user = ["setpriv", "--reuid=nobody", "--clear-groups", "--"] if os.geteuid() == 0 else []
        command = [*as_user, str(PROGRAMS[-1] / program), "-D", str(self._data), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=self._folder)


@contextmanager
def running() -> Iterator[Server]:
    """A server that runs for the block; the test is skipped where there is none."""
    if not PROGRAMS:
        pytest.skip("no PostgreSQL server in /usr/lib/postgresql (Debian: apt install postgresql)")
    folder = Path("/tmp") / f"mdf-postgresql-{os.getpid()}"  # a socket's path must be short
    server = Server(folder)
    server.set_up()
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)
