"""Databases of earlier versions, with rows in every table, keep all when they are migrated."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import (
    ForeignKey,
    MetaData,
    Table,
    create_engine,
    delete,
    insert,
    select,
    text,
    update,
)

from services import usage
from services.access import LOCAL
from services.database import Database
from services.database.migration import versions
from services.database.schema import Artifact, Base, LossFile, ModelFile
from services.jobs import queries, requests

MOMENT = datetime(2025, 3, 9, 12, 30, 15, 250_000, tzinfo=UTC)
MANIFEST = {"format": 1, "task": {"kind": "jpeg", "quality": [7, 10]}, "note": "naïve “text”"}
FILE = {"size": 2_400_000, "sha256": "ab" * 32}
SPEC = {"type": "discriminator_training", "seed_image_ids": ["img_1"]}
NEWEST, *EARLIER = versions()

# By the version that brought the table; in the order in which they may be filled.
ROWS: dict[str, dict[str, list[dict[str, Any]]]] = {
    "0001": {
        "api_keys": [
            {"id": "key_1", "name": "laptop", "owner": "anna", "scopes": ["read", "write"]}
            | {"secret_hash": "cd" * 32, "created": MOMENT, "last_used": MOMENT, "revoked": None},
            {"id": "key_2", "name": "old", "owner": "local", "scopes": ["admin"]}
            | {"secret_hash": "ef" * 32, "created": MOMENT, "last_used": None, "revoked": MOMENT},
        ],
        "idempotency_keys": [
            {"owner": "anna", "key": "a b", "request_digest": "12" * 32}
            | {"answer": {"status": 201, "headers": {}, "body": {}}, "created": MOMENT},
        ],
        "images": [
            {"id": f"img_{owner}", "owner": owner, "digest": "34" * 32, "blob": "images/34.png"}
            | {"name": "photo “1”.png", "width": 96, "height": 64, **FILE}
            | {"source": {"format": "JPEG", "converted": ["orientation"]}, "created": MOMENT}
            for owner in ("anna", "bert")
        ],
        "jobs": [
            {"id": f"job_{state}", "owner": "local", "type": "discriminator_training"}
            | {"name": state, "spec": SPEC, "state": state, "desired_state": "run"}
            | {"priority": 3, "attempt": 1, "token": 4, "lease_holder": None, "lease_host": None}
            | {"lease_expires": None, "checkpoint": f"checkpoints/job_{state}/3-9"}
            | {"checkpoint_at": MOMENT, "deadline": None, "last_seq": 2}
            | {
                "progress": {"step": 7},
                "error": {"code": "internal"} if state == "failed" else None,
            }
            | {"created": MOMENT, "queued": MOMENT, "announced": None, "started": MOMENT}
            | {"finished": None if state == "queued" else MOMENT, "run_seconds": 12.5}
            for state in ("queued", "failed", "succeeded")
        ],
        "workers": [
            {"id": "host:0:7", "host": "host", "pid": 7, "device": "cpu", "job_id": None}
            | {"started": MOMENT, "last_seen": MOMENT},
        ],
        "artifacts": [
            {"id": "art_1", "job_id": "job_succeeded", "kind": "contact_sheet", **FILE}
            | {"media_type": "image/png", "blob": "artifacts/job_succeeded/4-x"}
            | {"created": MOMENT},
        ],
        "job_events": [
            {"job_id": "job_failed", "seq": seq, "kind": "state", "created": MOMENT}
            | {"content": {"state": "queued", "attempt": seq}}
            for seq in (1, 2)
        ],
        "job_metrics": [
            {"job_id": "job_failed", "scale": 1, "step": step, "content": {"loss": 0.25}}
            for step in (1, 2)
        ],
        "job_samples": [
            {"id": "smp_1", "job_id": "job_failed", "scale": 1, "step": 2, "kind": "map"}
            | {"blob": "samples/job_failed/1-2-map.png", "created": MOMENT},
        ],
        "losses": [
            {"id": "loss_1", "owner": "local", "job_id": "job_succeeded", "name": "jpeg"}
            | {"manifest": MANIFEST, "sha256": "56" * 32, "created": MOMENT},
            {"id": "loss_2", "owner": "anna", "job_id": None, "name": "imported"}
            | {"manifest": MANIFEST, "sha256": "56" * 32, "created": MOMENT},
        ],
        "loss_files": [
            {"loss_id": "loss_1", "format": form, "blob": f"losses/56.{form}", **FILE}
            for form in ("safetensors", "pth", "pt2")
        ],
    },
    "0002": {
        "datasets": [
            {"id": "ds_1", "owner": "anna", "name": "photos", "on_bad_file": "skip"}
            | {"source": {"kind": "upload", "size": 1 << 40}, "size": 1 << 40, "received": 1 << 39}
            | {"job_id": None, "ready": None, "digest": None, "images": 0, "pixels": 0}
            | {"bad_files": [], "bad_file_count": 0, "sheet": None, "created": MOMENT},
            {"id": "ds_2", "owner": "local", "name": "photos", "on_bad_file": "refuse"}
            | {"source": {"kind": "folder", "location": "/data"}, "size": None, "received": 0}
            | {"job_id": "job_succeeded", "ready": MOMENT, "digest": "78" * 32, "images": 1}
            | {"pixels": 1 << 33, "bad_files": [{"name": "a", "reason": "b"}], "bad_file_count": 1}
            | {"sheet": "sheets/ds_2.png", "created": MOMENT},
        ],
        "models": [
            {"id": "model_1", "owner": "local", "job_id": "job_succeeded", "name": "denoiser"}
            | {"manifest": MANIFEST, "sha256": "9a" * 32, "created": MOMENT},
        ],
        "dataset_images": [
            {"dataset_id": "ds_2", "position": 0, "name": "a/b.png", "digest": "bc" * 32}
            | {"blob": "datasets/bc.png", "width": 640, "height": 480, **FILE},
        ],
        "dataset_parts": [
            {"dataset_id": "ds_1", "offset": 1 << 39, "size": 8 << 20, "blob": "uploads/ds_1/0-a"},
        ],
        "model_files": [
            {"model_id": "model_1", "format": form, "blob": f"models/9a.{form}", **FILE}
            for form in ("safetensors", "onnx")
        ],
    },
    "0003": {
        "shares": [
            {"queue": queue, "owner": "anna", "served": MOMENT} for queue in ("restore", "train")
        ],
        "tallies": [
            {"name": "claims", "labels": '{"type": "restoration"}', "value": 41.0},
            {"name": "job_run_sum", "labels": '{"type": "restoration"}', "value": 1234.0625},
        ],
        "dataset_reservations": [{"dataset_id": "ds_1", "digest": "de" * 32}],
        "webhooks": [
            {"id": "hook_1", "owner": "anna", "name": "chat", "url": "https://example.com/a?b=“c”"}
            | {"events": ["job.succeeded", "job.failed"], "secret": "whsec_new"}
            | {"previous_secret": "whsec_old", "previous_until": MOMENT, "created": MOMENT}
            | {"disabled": None, "disabled_reason": None, "failing_since": MOMENT},
            {"id": "hook_2", "owner": "local", "name": "", "url": "http://127.0.0.1:9"}
            | {"events": [], "secret": "whsec_2", "previous_secret": None, "previous_until": None}
            | {"created": MOMENT, "disabled": MOMENT, "disabled_reason": "it fails for days"}
            | {"failing_since": None},
        ],
        "browser_sessions": [
            {"id": "0a" * 32, "key_id": "key_1", "created": MOMENT, "expires": MOMENT},
        ],
        "webhook_deliveries": [
            {"id": f"msg_{state}", "webhook_id": "hook_1", "event": "job.failed", "state": state}
            | {"content": {"type": "job.failed", "data": {"id": "job_failed", "name": "“é”"}}}
            | {"attempts": 3, "due": MOMENT, "created": MOMENT}
            | {
                "status": None if state == "pending" else 204,
                "fault": "no answer" if state == "pending" else None,
                "delivered": None if state == "pending" else MOMENT,
            }
            for state in ("pending", "delivered")
        ],
    },
    "0004": {
        "evaluations": [
            {"id": "eval_1", "owner": "local", "job_id": "job_succeeded", "name": "two losses"}
            | {"summary": {"candidates": [{"id": "model_1", "psnr": 31.25}]}, "created": MOMENT},
        ],
    },
    "0005": {
        "measurements": [
            {"id": "mea_1", "type": "discriminator_training", "device": "NVIDIA H200"}
            | {"counts": {"work": {"layers": 1.5e9}, "packed": 8}, "seconds": 97.5}
            | {"memory_bytes": 141 << 30, "created": MOMENT},
        ],
    },
}

# By the version that added the column to a table of an earlier one: what the rows then have in
# it that were there before, and what those have that are written since.
ADDED: dict[str, dict[str, dict[str, tuple[Any, Any]]]] = {
    "0003": {
        "api_keys": {"quotas": ({}, {"running_jobs": 2, "stored_bytes": None})},
        "job_samples": {"size": (0, 70_000)},
        "jobs": {
            "checkpoint_size": (None, 5 << 30),
            "lost_attempts": (0, 2),
            "running_cap": (None, 4),
            "request_id": (None, "6f0c"),
            "trace": (None, f"00-{'1a' * 16}-{'2b' * 8}-01"),
        },
        "workers": {"resources": ({}, {"memory": {"total": 1 << 34, "available": 1 << 33}})},
    },
}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'mdf.sqlite'}"
        return
    server = request.getfixturevalue("postgresql")
    yield server
    with create_engine(server).begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def rows_of(version: str) -> dict[str, list[dict[str, Any]]]:
    """Of all tables that there were then, with the columns that they had."""
    return {
        table: [row | added(table, until=version) for row in rows]
        for since, tables in ROWS.items()
        if since <= version
        for table, rows in tables.items()
    }


def added(table: str, *, until: str) -> dict[str, Any]:
    """The values of columns that were added to the table up to a version."""
    return {
        column: value
        for since, tables in ADDED.items()
        if since <= until
        for column, (_, value) in tables.get(table, {}).items()
    }


def upgraded(version: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of that version as they must be once the tables are of the newest one."""
    defaults = {
        table: {
            column: default
            for since, tables in ADDED.items()
            if since > version
            for column, (default, _) in tables.get(table, {}).items()
        }
        for table in Base.metadata.tables
    }
    return {
        table: [row | defaults[table] for row in rows] for table, rows in rows_of(version).items()
    }


def fill(database: Database, version: str) -> None:
    """Make the tables of that version, with its rows in them."""
    database.migrate(version)
    tables = reflected(database)
    with database.engine.begin() as connection:
        for name, rows in rows_of(version).items():
            connection.execute(insert(tables[name]), rows)


def reflected(database: Database) -> dict[str, Table]:
    """The tables as they are."""
    metadata = MetaData()
    metadata.reflect(database.engine)
    return dict(metadata.tables)


def columns(database: Database) -> dict[str, set[str]]:
    """Of each table, without Alembic's."""
    tables = reflected(database)
    del tables["alembic_version"]
    return {name: set(table.c.keys()) for name, table in tables.items()}


def stored(database: Database, tables: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    """What the tables hold, of the columns that there were."""
    present = reflected(database)
    found: dict[str, list[str]] = {}
    with database.engine.connect() as connection:
        for name, rows in tables.items():
            kept = select(*(present[name].c[column] for column in rows[0]))
            found[name] = sorted(map(repr, connection.execute(kept)))
    return found


def test_the_migrations_make_exactly_the_tables_of_the_schema(url: str) -> None:
    database = Database(url)
    database.migrate()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_every_column_of_every_table_has_values_here() -> None:
    assert {name: set(rows[0]) for name, rows in rows_of(NEWEST).items()} == {
        name: set(table.c.keys()) for name, table in Base.metadata.tables.items()
    }


@pytest.mark.parametrize("version", EARLIER)
def test_an_earlier_database_keeps_all_its_rows(url: str, version: str) -> None:
    database = Database(url)
    tables = rows_of(version)
    fill(database, version)
    assert columns(database) == {name: set(rows[0]) for name, rows in tables.items()}
    before = stored(database, tables)
    assert all(len(before[name]) == len(rows) for name, rows in tables.items())

    database.migrate()

    assert database.version() == NEWEST
    assert stored(database, tables) == before
    database.close()
    check_use(Database(url), version)


@pytest.mark.parametrize("version", EARLIER)
def test_a_database_that_goes_back_keeps_what_the_earlier_version_has(
    url: str, version: str
) -> None:
    database = Database(url)
    tables = rows_of(version)
    fill(database, NEWEST)
    before = stored(database, tables)

    database.migrate(version)

    assert database.version() == version
    assert stored(database, tables) == before
    assert columns(database) == {name: set(rows[0]) for name, rows in tables.items()}
    database.migrate()
    database.close()
    check_use(Database(url), version)


@pytest.mark.parametrize("row", [Artifact, LossFile, ModelFile])
def test_a_file_may_have_more_than_two_gibibytes(
    url: str, row: type[Artifact | LossFile | ModelFile]
) -> None:
    database = Database(url)
    fill(database, NEWEST)
    with database.write() as session:
        session.execute(update(row).values(size=5 << 30))
    with database.read() as session:
        assert set(session.scalars(select(row.size))) == {5 << 30}
        assert max(use.size for use in usage.of_owner(session, "local").kinds.values()) >= 5 << 30
    for version in ("0005", NEWEST):
        database.migrate(version)
        with database.read() as session:
            assert set(session.scalars(select(row.size))) == {5 << 30}
    database.close()


def check_use(database: Database, version: str) -> None:
    """The service reads all of what that version held, and goes on with it."""
    tables = upgraded(version)
    with database.read() as session:
        for mapper in Base.registry.mappers:
            rows = tables.get(mapper.local_table.name, [])
            assert len(session.scalars(select(mapper.class_)).all()) == len(rows)
            for row in rows:
                key = {column.name: row[column.name] for column in mapper.primary_key}
                found = session.get_one(mapper.class_, key)
                assert {name: getattr(found, name) for name in row} == row
        (sample,) = tables["job_samples"]
        assert [found.size for found in queries.samples(session, "job_failed")] == [sample["size"]]
        if database.engine.dialect.name == "sqlite":
            assert session.execute(text("PRAGMA foreign_key_check")).all() == []
    with database.write() as session:
        assert requests.change(session, "job_queued", LOCAL, priority=5).priority == 5
    with database.write() as session:
        for owner in Base.metadata.sorted_tables:  # each before what belongs to it
            session.execute(delete(owner))
            for key in references(owner):
                outlives = key.ondelete == "SET NULL"
                rows = tables.get(key.parent.table.name, []) if outlives else []
                assert session.scalars(select(key.parent)).all() == [None] * len(rows)
    database.close()


def references(table: Table) -> list[ForeignKey]:
    """The foreign keys that refer to the table."""
    return [
        key
        for other in Base.metadata.sorted_tables
        for key in other.foreign_keys
        if key.column.table is table
    ]
