"""Transactions and migrations, on a real SQLite file."""

import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, make_url, select, text
from sqlalchemy.exc import OperationalError

from services.database import Database
from services.database.schema import Base, Worker, now


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path / 'new folder' / 'mdf.sqlite'}")
    database.migrate()
    return database


def _worker(name: str) -> Worker:
    return Worker(
        id=name, host="h", pid=1, device="cpu", job_id=None, started=now(), last_seen=now()
    )


def test_the_migrations_make_exactly_the_tables_of_the_schema(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


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
