"""The versions of the tables, and the way from one to another."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from services.database import DatabaseUnusableError


def versions() -> list[str]:
    """All versions of the tables that there are, the newest first."""
    script = ScriptDirectory.from_config(_config())
    return [each.revision for each in script.walk_revisions()]


def version_of(connection: Connection) -> str | None:
    """Which version the tables have; None if there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def migrate(connection: Connection, version: str | None) -> None:
    """What `Database.migrate` does, on a connection that has not begun a transaction."""
    config, known = _config(), versions()
    wanted = version or known[0]
    with _unchecked(connection), connection.begin():
        config.attributes["connection"] = connection
        present = version_of(connection)
        if present is not None and present not in known:
            raise DatabaseUnusableError(
                f"the database is of a newer version of MDF: its tables have version "
                f"{present}, and this one knows them up to {known[0]}. Start the newer one"
            )
        if present in known[: known.index(wanted)]:
            command.downgrade(config, wanted)
        else:
            command.upgrade(config, wanted)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


@contextmanager
def _unchecked(connection: Connection) -> Iterator[None]:
    """Outside a transaction: have SQLite heed no foreign keys.

    Many changes of a table are made there by a new one in its place; with the old one, all rows
    that refer to it would go.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    raw = connection.connection.cursor()
    raw.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        raw.execute("PRAGMA foreign_keys = ON")
        raw.close()
