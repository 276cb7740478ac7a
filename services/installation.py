"""One running service: its settings, database and blobs, opened together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from services.blobs import Blobs
from services.database import Database
from services.errors import ConflictError
from services.retention.references import FOLDERS
from services.settings import Settings


@dataclass(frozen=True)
class Installation:
    """What every process of the service holds."""

    settings: Settings
    database: Database
    blobs: Blobs

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the database and the blobs that `settings` name; does not migrate."""
        if settings.database_url is None:
            settings.home_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # It may have been there, and open to others.
            (settings.home_folder / "mdf.sqlite").touch(mode=0o600)
        return cls(
            settings=settings,
            database=Database(settings.sqlalchemy_url),
            blobs=Blobs(
                settings.blob_url or settings.home_folder / "blobs",
                floor_bytes=settings.disk_floor_bytes,
            ),
        )

    @classmethod
    @contextmanager
    def at_this_version(cls, settings: Settings) -> Iterator[Self]:
        """Open it for the block, with its database brought to this version.

        Raises: DatabaseUnusableError for a database that is damaged or cannot be opened, also where
        the block finds that out, or of a newer version; ConflictError for an empty one beside
        files: its sweep would take them all for orphans.
        """
        installation = cls.open(settings)
        try:
            with installation.database.explaining_faults():
                installation._check_beginning()
                installation.database.migrate()
                yield installation
        finally:
            installation.close()

    def close(self) -> None:
        """Give the database's connections back."""
        self.database.close()

    def _check_beginning(self) -> None:
        folder = self.blobs.folder
        if folder is None or self.database.version() is not None:
            return
        # Others that lie there, of probes and sweeps, are no object's.
        if any(path.is_file() for name in FOLDERS for path in (folder / name).rglob("*")):
            raise ConflictError(
                f"the database is empty, but {folder} holds files: put their database back, or "
                f"restore a backup into another folder; to begin anew, move {folder} away"
            )
