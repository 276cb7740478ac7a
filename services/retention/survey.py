"""What fills the disk: what lies there, beside what the rows refer to."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from services.database import Database
from services.installation import Installation
from services.retention import orphans
from services.retention.references import References


@dataclass(frozen=True)
class Kept:
    """Files of one kind; sizes in bytes.

    `orphans` are referred to by nothing and older than an hour: a sweep removes them.
    """

    name: str
    files: int
    size: int
    orphans: int = 0
    orphan_size: int = 0


@dataclass(frozen=True)
class Survey:
    """All that the installation keeps.

    `missing` are the keys of files that rows refer to and that are not there. `free` bytes of
    disk are left; nothing is known of a bucket's.
    """

    kinds: tuple[Kept, ...]
    missing: tuple[str, ...]
    free: int | None

    @property
    def size(self) -> int:
        """Bytes of everything."""
        return sum(kept.size for kept in self.kinds)

    @property
    def orphan_size(self) -> int:
        """Bytes that a sweep would free."""
        return sum(kept.orphan_size for kept in self.kinds)


def survey(installation: Installation) -> Survey:
    """Look at every file, and at what the rows say of it."""
    with installation.database.read() as session:
        named = References.read(session).named  # before the files: none of them comes later
    entries = installation.blobs.entries("")
    there = {entry.key for entry in entries}
    with installation.database.read() as session:
        named &= References.read(session).named  # nor was deleted meanwhile
    lost = {entry.key for entry in orphans.find(installation)}
    files: dict[str, list[tuple[int, bool]]] = {}
    for entry in entries:
        folder = entry.key.partition("/")[0]
        files.setdefault(folder, []).append((entry.size, entry.key in lost))
    kinds = [
        Kept(
            name=folder,
            files=len(found),
            size=sum(size for size, _ in found),
            orphans=sum(is_orphan for _, is_orphan in found),
            orphan_size=sum(size for size, is_orphan in found if is_orphan),
        )
        for folder, found in sorted(files.items())
    ]
    return Survey(
        kinds=(*kinds, *_beside(installation)),
        missing=tuple(sorted(named - there)),
        free=installation.blobs.free_bytes(),
    )


def _beside(installation: Installation) -> Iterable[Kept]:
    """What is kept beside the blobs."""
    yield Kept("database", files=1, size=_database_size(installation.database))
    for name in ("redis", "logs"):
        folder = installation.settings.home_folder / name
        sizes = [_size(path) for path in folder.rglob("*") if path.is_file()]
        if sizes:
            yield Kept(name, files=len(sizes), size=sum(sizes))


def _database_size(database: Database) -> int:
    url = database.engine.url
    if url.get_backend_name() == "sqlite":
        return sum(_size(Path(f"{url.database}{suffix}")) for suffix in ("", "-wal", "-shm"))
    with database.read() as session:
        return session.scalar(text("SELECT pg_database_size(current_database())")) or 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # gone meanwhile, or not there yet
        return 0
