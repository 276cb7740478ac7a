"""An installation is its user's alone, wherever its folder lies."""

import os
import stat

import pytest
from sqlalchemy import select, text

from services.database import DatabaseUnusableError
from services.database.migration import versions
from services.database.schema import Base
from services.errors import ConflictError
from services.installation import Installation
from services.retention import orphans
from services.settings import Settings


def test_a_folder_that_others_may_enter_shows_them_nothing(tmp_path):
    tmp_path.chmod(0o755)
    installation = Installation.open(Settings(home=tmp_path))
    installation.database.migrate()
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert {"blobs", "mdf.sqlite"} <= {path.name for path in tmp_path.iterdir()}
    installation.close()


def test_an_empty_database_beside_files_is_refused(tmp_path):
    settings = Settings(home=tmp_path)
    with Installation.at_this_version(settings) as installation:
        installation.blobs.put("images/a.png", b"x")
    for path in tmp_path.glob("mdf.sqlite*"):
        path.unlink()
    for _ in range(2):
        with (
            pytest.raises(ConflictError, match=r"database is empty, but .*blobs holds files: put"),
            Installation.at_this_version(settings),
        ):
            pass
    (tmp_path / "blobs").rename(tmp_path / "old blobs")
    with Installation.at_this_version(settings) as installation:
        assert installation.database.version() == versions()[0]


def test_an_empty_database_beside_the_mark_of_a_sweep_is_a_beginning(tmp_path):
    settings = Settings(home=tmp_path)
    with Installation.at_this_version(settings) as installation:
        orphans.remove(installation)
        assert installation.blobs.keys("") == ["sweeps/last"]
    for path in tmp_path.glob("mdf.sqlite*"):
        path.unlink()
    with Installation.at_this_version(settings) as installation:
        assert installation.database.version() == versions()[0]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"something else" * 1000),
        lambda path: os.truncate(path, path.stat().st_size // 2),
    ],
)
def test_a_damaged_database_is_told_in_plain_words(tmp_path, spoil):
    settings = Settings(home=tmp_path)
    with Installation.at_this_version(settings):
        pass
    spoil(tmp_path / "mdf.sqlite")
    with pytest.raises(DatabaseUnusableError, match=r"mdf\.sqlite is damaged .*restore-backup"):
        read_all(settings)


def read_all(settings):
    with (
        Installation.at_this_version(settings) as installation,
        installation.database.read() as session,
    ):
        for table in Base.metadata.sorted_tables:
            session.execute(select(table)).all()


def test_a_database_of_a_newer_version_is_left_alone(tmp_path):
    settings = Settings(home=tmp_path)
    with (
        Installation.at_this_version(settings) as installation,
        installation.database.write() as session,
    ):
        session.execute(text("UPDATE alembic_version SET version_num = 'zzz'"))
    with (
        pytest.raises(DatabaseUnusableError, match=r"newer version of MDF: .* version zzz, and"),
        Installation.at_this_version(settings),
    ):
        pass
