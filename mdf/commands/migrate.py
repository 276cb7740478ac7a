"""`mdf migrate`: bring the database to this version, where no `mdf serve` does it at its start."""

from mdf.commands.checkout import server_code
from mdf.commands.terminal import note


def migrate() -> None:
    """Bring the database's tables to this version; all data stay."""
    with server_code():
        from services.installation import Installation
        from services.settings import load_settings

        with Installation.at_this_version(load_settings()):
            pass
    note("The database is up to date.")
