"""Transactions and migrations, on a real SQLite file."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, make_url, select, text, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from services import database as databases
from services.database import Database, hold, let_stand_still
from services.database.schema import Base, Worker, now
from tests.postgresql import Server


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path / 'new folder' / 'mdf.sqlite'}")
    database.migrate()
    return database


def _worker(name: str) -> Worker:
    return Worker(
        id=name, host="h", pid=1, device="cpu", job_id=None, started=now(), last_seen=now()
    )


def test_migrating_again_keeps_the_data(database: Database) -> None:
    with database.write() as session:
        session.add(_worker("w"))
    database.migrate()
    with database.read() as session:
        assert session.get_one(Worker, "w").host == "h"


def test_sqlite_is_durable_and_checks_foreign_keys(database: Database) -> None:
    with database.read() as session:
        pragmas = {
            name: session.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "busy_timeout": 10000,
        "foreign_keys": 1,
    }


def test_an_error_does_not_tell_the_values_of_its_statement(database: Database) -> None:
    with pytest.raises(OperationalError) as error, database.read() as session:
        session.execute(text("INSERT INTO nowhere VALUES (:value)"), {"value": "a secret"})
    assert "a secret" not in str(error.value)


def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    def fail_after_a_write() -> None:
        with database.write() as session:
            session.add(_worker("w"))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_a_write()
    with database.read() as session:
        assert session.get(Worker, "w") is None


def test_writers_wait_for_each_other_instead_of_failing(database: Database) -> None:
    """Read-modify-write from eight threads: deferred transactions would end in BUSY or lose."""
    with database.write() as session:
        session.add(_worker("w"))
    errors: list[OperationalError] = []

    def add_one(times: int) -> None:
        for _ in range(times):
            try:
                with database.write() as session:
                    worker = session.get_one(Worker, "w")
                    worker.pid = worker.pid + 1
            except OperationalError as error:
                errors.append(error)

    threads = [threading.Thread(target=add_one, args=(25,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with database.read() as session:
        assert session.scalar(select(func.max(Worker.pid))) == 1 + 8 * 25


def test_times_come_back_aware_and_naive_ones_are_refused(database: Database) -> None:
    moment = now()
    with database.write() as session:
        worker = _worker("w")
        worker.started = moment
        session.add(worker)
    with database.read() as session:
        assert session.get_one(Worker, "w").started == moment
    with pytest.raises(Exception, match="naive datetime"), database.write() as session:
        session.get_one(Worker, "w").started = moment.replace(tzinfo=None)


def test_a_silent_server_is_given_up_within_half_a_minute(postgresql: str) -> None:
    def parameters(url: str) -> dict[str, str]:
        database = Database(url)
        with database.engine.connect() as connection:
            found: dict[str, str] = connection.connection.driver_connection.info.get_parameters()
        database.close()
        return found

    found = parameters(postgresql)
    assert int(found["tcp_user_timeout"]) == 25_000
    idle, each, times = (int(found[f"keepalives_{n}"]) for n in ("idle", "interval", "count"))
    assert idle + each * times <= 30
    own = make_url(postgresql).update_query_dict({"keepalives_idle": "60"})
    assert parameters(own.render_as_string(hide_password=False))["keepalives_idle"] == "60"


class TestSilentClients:
    """What a server of PostgreSQL does about who has fallen silent or stands still."""

    @pytest.fixture
    def database(self, postgresql: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
        monkeypatch.setitem(databases._BOUNDS, "idle_in_transaction_session_timeout", "1s")
        database = Database(postgresql)
        Base.metadata.create_all(database.engine, [Worker.__table__])
        with database.write() as session:
            session.add(_worker("w"))
        yield database
        Base.metadata.drop_all(database.engine, [Worker.__table__])
        database.close()

    def test_who_stands_still_in_a_transaction_keeps_others_waiting_for_so_long(
        self, database: Database
    ) -> None:
        def stand_still() -> None:
            with database.write() as session:
                session.execute(update(Worker).values(pid=2))
                with database.write() as other:
                    other.execute(update(Worker).values(pid=3))
                session.execute(update(Worker).values(pid=4))

        with pytest.raises(OperationalError, match="idle-in-transaction"):
            stand_still()
        with database.read() as session:
            assert session.get_one(Worker, "w").pid == 3

    def test_who_removes_files_is_left_alone(self, database: Database) -> None:
        with database.write() as session:
            let_stand_still(session)
            hold(session, "a file")
            time.sleep(1.5)
            session.execute(update(Worker).values(pid=2))
        with database.read() as session:
            assert session.get_one(Worker, "w").pid == 2
        with database.engine.connect() as connection:
            assert _shown(connection, "idle_in_transaction_session_timeout") == "1s"

    def test_hosts_that_are_lost_are_given_up_within_half_a_minute(
        self, postgresql_server: Server
    ) -> None:
        database = Database(postgresql_server.url(host="127.0.0.1"))
        with database.engine.connect() as connection:
            idle, each, times = (
                int(_shown(connection, f"tcp_keepalives_{name}"))
                for name in ("idle", "interval", "count")
            )
            assert idle + each * times <= 30
            assert _shown(connection, "tcp_user_timeout") == "25000"
        database.close()

    def test_what_the_operator_has_set_stays(self, database: Database, postgresql: str) -> None:
        options = "-c idle_in_transaction_session_timeout=7s"
        own = Database(
            make_url(postgresql)
            .update_query_dict({"options": options})
            .render_as_string(hide_password=False)
        )
        with own.engine.connect() as connection:
            assert _shown(connection, "idle_in_transaction_session_timeout") == "7s"
        own.close()

    def test_a_server_that_only_reads_is_away_for_who_writes(
        self, database: Database, postgresql: str
    ) -> None:
        """As one does whose place another has taken; who comes back finds that one."""

        def have_all_only_read(only: str) -> None:
            writes = make_url(postgresql).update_query_dict(
                {"options": "-c default_transaction_read_only=off"}
            )
            engine = create_engine(writes, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.exec_driver_sql(
                    f"ALTER ROLE mdf SET default_transaction_read_only = {only}"
                )
            engine.dispose()

        have_all_only_read("on")
        try:
            with database.write() as session:  # a connection of before
                session.add(_worker("v"))
            database.close()
            with pytest.raises(OperationalError, match="read-only"), database.write() as session:
                session.add(_worker("u"))
        finally:
            have_all_only_read("off")
        with database.write() as session:
            session.add(_worker("u"))


def _shown(connection: Connection, name: str) -> str:
    return str(connection.exec_driver_sql(f"SHOW {name}").scalar())
