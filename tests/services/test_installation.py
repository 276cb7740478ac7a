"""An installation is its user's alone, wherever its folder lies."""

import stat

from services.installation import Installation
from services.settings import Settings


def test_a_folder_that_others_may_enter_shows_them_nothing(tmp_path):
    tmp_path.chmod(0o755)
    installation = Installation.open(Settings(home=tmp_path))
    installation.database.migrate()
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert {"blobs", "mdf.sqlite"} <= {path.name for path in tmp_path.iterdir()}
    installation.close()
