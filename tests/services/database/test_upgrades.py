"""Databases of earlier versions, with rows in every table, keep all when they are migrated."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, create_engine, insert, select, text

from services.access import LOCAL
from services.database import Database, versions
from services.database.schema import Base, Job
from services.jobs import queries, requests

MOMENT = datetime(2025, 3, 9, 12, 30, 15, 250_000, tzinfo=UTC)
MANIFEST = {"format": 1, "task": {"kind": "jpeg", "quality": [7, 10]}, "note": "naïve “text”"}
FILE = {"size": 2_400_000, "sha256": "ab" * 32}
SPEC = {"type": "discriminator_training", "seed_image_ids": ["img_1"]}

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
    """Of all tables that there were then."""
    return {
        table: rows
        for since, tables in ROWS.items()
        if since <= version
        for table, rows in tables.items()
    }


def stored(database: Database, tables: dict[str, list[dict[str, Any]]]) -> dict[str, list[Any]]:
    """What the tables hold, of the columns that there were."""
    metadata = MetaData()
    metadata.reflect(database.engine)
    with database.engine.connect() as connection:
        return {
            name: sorted(
                map(
                    repr,
                    connection.execute(
                        select(*(metadata.tables[name].c[column] for column in rows[0]))
                    ).all(),
                )
            )
            for name, rows in tables.items()
        }


@pytest.mark.parametrize("version", ["0001", "0002"])
def test_an_earlier_database_keeps_all_its_rows(url: str, version: str) -> None:
    database = Database(url)
    database.migrate(version)
    tables = rows_of(version)
    metadata = MetaData()
    metadata.reflect(database.engine)
    assert metadata.tables.keys() - {"alembic_version"} == tables.keys()
    with database.engine.begin() as connection:
        for name, rows in tables.items():
            assert set(metadata.tables[name].c.keys()) == set(rows[0])
            connection.execute(insert(metadata.tables[name]), rows)
    before = stored(database, tables)
    assert all(len(before[name]) == len(rows) for name, rows in tables.items())

    database.migrate()

    assert database.version() == versions()[0]
    assert stored(database, tables) == before
    database.close()
    check_use(Database(url), tables)


def test_a_database_that_goes_back_keeps_what_the_earlier_version_has(url: str) -> None:
    database = Database(url)
    database.migrate("0002")
    tables = rows_of("0002")
    metadata = MetaData()
    metadata.reflect(database.engine)
    with database.engine.begin() as connection:
        for name, rows in tables.items():
            connection.execute(insert(metadata.tables[name]), rows)
    before = stored(database, tables)
    database.migrate()

    database.migrate("0002")

    assert database.version() == "0002"
    assert stored(database, tables) == before
    after = MetaData()
    after.reflect(database.engine)
    assert {name: set(table.c.keys()) for name, table in after.tables.items()} == {
        name: set(table.c.keys()) for name, table in metadata.tables.items()
    }
    database.migrate()
    database.close()
    check_use(Database(url), tables)


def check_use(database: Database, tables: dict[str, list[dict[str, Any]]]) -> None:
    """The service reads all of it, and goes on with it."""
    with database.read() as session:
        for mapper in Base.registry.mappers:
            found = session.scalars(select(mapper.class_)).all()
            assert len(found) == len(tables.get(mapper.local_table.name, ()))
        job = session.get_one(Job, "job_failed")
        assert job.created == MOMENT
        assert (job.checkpoint_size, job.running_cap, job.trace) == (None, None, None)
        assert [sample.size for sample in queries.samples(session, job.id)] == [0]
        if database.engine.dialect.name == "sqlite":
            assert session.execute(text("PRAGMA foreign_key_check")).all() == []
    with database.write() as session:
        assert requests.change(session, "job_queued", LOCAL, priority=5).priority == 5
        session.delete(session.get_one(Job, "job_failed"))
    with database.read() as session:
        assert queries.samples(session, "job_failed") == []
    database.close()
