"""A PostgreSQL server for tests, where its programs are installed."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import urlencode

import psutil
import pytest
from sqlalchemy import create_engine

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


class Server:
    """A server on a unix socket, with its data in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])

    def url(self, database: str = "postgres", *, host: str | None = None) -> str:
        """Where one of its databases is: on its socket, or on `host`."""
        where = urlencode({"host": host or self._folder, "port": self._port})
        return f"postgresql+psycopg://mdf@/{database}?{where}"

    def set_up(self) -> None:
        """Make its folders; the server refuses to run as root."""
        if os.geteuid() == 0:
            shutil.chown(self._folder, "nobody")
        self._run("initdb", "-U", "mdf", "--auth=trust", "--no-sync")

    def start(self) -> None:
        """Start it; returns when it answers."""
        options = f"-k {self._folder} -h 127.0.0.1 -p {self._port} -c fsync=off"
        self._run("pg_ctl", "-o", options, "-l", str(self._folder / "log"), "-w", "start")

    def kill(self) -> None:
        """End it without a warning; returns when its processes have followed it."""
        first = self._first()
        first.suspend()  # it starts no others
        processes = [first, *first.children()]
        first.kill()
        assert psutil.wait_procs(processes, timeout=60)[1] == []

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """For the block no process of it does anything."""
        first = self._first()
        first.suspend()
        others = first.children()
        try:
            for process in others:
                with suppress(psutil.NoSuchProcess):
                    process.suspend()
            yield
        finally:
            for process in (*others, first):
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def _first(self) -> psutil.Process:
        """The process that takes connections, and starts another for each."""
        return psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))

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
    folder = Path(mkdtemp(prefix="mdf-postgresql-", dir="/tmp"))  # a socket's path must be short
    server = Server(folder)
    server.set_up()
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
