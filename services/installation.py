"""One running service: its settings, database and blobs, opened together."""

from dataclasses import dataclass
from typing import Self

from services.blobs import Blobs
from services.database import Database
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

    def close(self) -> None:
        """Give the database's connections back."""
        self.database.close()
