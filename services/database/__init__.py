"""The SQL database: SQLite in WAL mode on one machine, PostgreSQL on many; one code for both."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from services.errors import ServiceError

# Of the database and its log; of the log's index, which SQLite keeps in a file beside.
_SQLITE_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
_SQLITE_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_WRITES = {"mdf_writes": True}
# A server of PostgreSQL that falls silent, as when its host is lost, is given up within half a
# minute. By default whoever waits for it does so for hours, and with it all that a slot does.
_ATTENTIVE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # ms
}
# The same for the server: who falls silent in a transaction, since its host is lost, would keep
# others from the rows that it has written for hours, and who stands still in one for ever. Not even
# a slow store of files has those who live wait for so long.
_BOUNDS = {
    "idle_in_transaction_session_timeout": "5min",
    "tcp_keepalives_idle": "10s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25s",
}
# Those that are not set for the database or roles, or in the URL. What is set for the server may be
# its host's default: a day, for one.
_SET_BOUNDS = """
    SELECT set_config(name, %s::jsonb ->> name, false) FROM pg_settings
    WHERE source NOT IN ('global', 'database', 'user', 'database user', 'client')
    AND %s::jsonb ? name
"""
_READ_ONLY = "25006"
_STOOD_STILL = frozenset({"25P03", "25P04"})
# Opening the file and setting it up takes longer than most questions: about as many connections are
# kept as threads of the API may ask at once, when many clients come back together. Those beyond are
# opened for each question and closed after it. The one used last goes first: it knows most.
_SQLITE_POOL = {"pool_size": 48, "max_overflow": 32, "pool_use_lifo": True}


class DatabaseUnusableError(ServiceError):
    """The database is damaged, cannot be opened, or is of a version that is not known here."""


class Database:
    """Transactions on one database.

    On SQLite every writing transaction begins IMMEDIATE: it waits for its turn at the
    start, for up to ten seconds, instead of failing with BUSY in the middle.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._writer = self.engine.execution_options(**_WRITES)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads; sees one state of the database."""
        with Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that commits at the end of the block, or rolls back on an error."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            # Begun at once: what is done in the block before its first query is held as well.
            session.connection()
            yield session

    def version(self) -> str | None:
        """Which version the tables have, as the migrations count them; None if there are none."""
        from services.database import migration  # slow to import, and most processes never ask

        with self.engine.connect() as connection:
            return migration.version_of(connection)

    def migrate(self, version: str | None = None) -> None:
        """Bring the tables to the newest version, or an earlier one.

        Upwards all data is kept; downwards, what the earlier version has a place for.

        Raises: DatabaseUnusableError if the tables are of a newer version than this program.
        """
        from services.database import migration

        with self._writer.connect() as connection:
            migration.migrate(connection, version)

    @contextmanager
    def explaining_faults(self) -> Iterator[None]:
        """What is damaged or cannot be opened comes out of the block as DatabaseUnusableError."""
        try:
            yield
        except DatabaseError as error:
            said = " ".join(str(error.orig).split())
            if _is_damaged(error):
                raise DatabaseUnusableError(
                    f"the database {self._name} is damaged ({said}): move what is there aside, and "
                    "make it anew of a backup with `mdf restore-backup`"
                ) from error
            if _is_closed(error):
                raise DatabaseUnusableError(
                    f"the database {self._name} cannot be opened ({said}): start its server, or "
                    "put its file in its place; MDF_DATABASE_URL or MDF_HOME names it"
                ) from error
            raise

    @property
    def _name(self) -> str:
        """Its file, or its URL without what may be secret."""
        url = self.engine.url
        is_file = url.get_backend_name() == "sqlite"
        return str(url.database) if is_file else url.set(query={}).render_as_string()

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def is_database_full(error: BaseException) -> bool:
    """Whether the database refused to write for want of disk."""
    original = getattr(error, "orig", error)
    # SQLite's codes; and PostgreSQL's, which it gives for its own disk.
    return (
        getattr(original, "sqlite_errorcode", None) in _SQLITE_FULL
        or getattr(original, "sqlstate", None) == "53100"
    )


def _is_damaged(error: DatabaseError) -> bool:
    return _sqlite_code(error) in _SQLITE_DAMAGED


def _is_closed(error: DatabaseError) -> bool:
    """Whether there is no file that can be opened, or no server that answers."""
    answered = hasattr(error.orig, "sqlite_errorcode") or getattr(error.orig, "sqlstate", None)
    is_away = isinstance(error, OperationalError) and not answered
    return is_away or _sqlite_code(error) == sqlite3.SQLITE_CANTOPEN


def _sqlite_code(error: DatabaseError) -> int:
    """Without what SQLite adds to it; 0 of other databases."""
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF


def let_stand_still(session: Session) -> None:
    """Have this transaction last however long it does nothing, unless its connection is lost.

    For who removes files meanwhile, which others must not begin to refer to.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def hold(session: Session, name: str) -> None:
    """Keep other transactions from holding `name` until this one ends.

    SQLite needs nothing for it: a writing transaction there has the database for itself.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def _bound_silence(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:  # noqa: ARG001
    cursor = connection.cursor()
    cursor.execute(_SET_BOUNDS, (json.dumps(_BOUNDS),) * 2)
    cursor.close()
    connection.commit()  # or the first rollback would take them back


def _as_away(context: ExceptionContext) -> OperationalError | None:
    """What PostgreSQL refuses for now is an OperationalError, as when it does not answer.

    The driver has another class for a transaction that stood still for too long, and for a server
    that only reads: another has taken its place, which new connections may find.
    """
    original = context.original_exception
    state = getattr(original, "sqlstate", None)
    if state == _READ_ONLY:
        context.is_disconnect = True
    elif state not in _STOOD_STILL:
        return None
    return OperationalError(
        context.statement,
        context.parameters,
        original,
        hide_parameters=True,
        connection_invalidated=context.is_disconnect,
    )


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        said = make_url(url).query  # goes before
        attentive = {name: value for name, value in _ATTENTIVE.items() if name not in said}
        engine = create_engine(
            url, pool_pre_ping=True, hide_parameters=True, connect_args=attentive
        )
        event.listen(engine, "connect", _bound_silence)
        event.listen(engine, "handle_error", _as_away)
        return engine
    # Errors reach the log; what users wrote, and hashes of keys, do not.
    engine = create_engine(url, hide_parameters=True, **_SQLITE_POOL)
    if engine.url.database:
        folder = Path(engine.url.database).parent
        folder.mkdir(parents=True, exist_ok=True)

    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:  # noqa: ARG001
        # Transactions are ours: the driver would begin them deferred, and late.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "busy_timeout = 10000",
            "foreign_keys = ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("mdf_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    # A connection must not cross a fork.
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    return engine
