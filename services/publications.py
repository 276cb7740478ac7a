"""Catalogues of what jobs publish and users import: losses, and models.

One row an object, one row for each of its downloadable forms, whose files lie in blobs under
their digest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest
from io import BytesIO
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from services.access import Caller
from services.blobs import Blobs, StoredFile
from services.database import Database, hold, let_stand_still
from services.database.schema import Job, Loss, LossFile, Model, ModelFile, now
from services.errors import BadInputError, NotFoundError, Problem
from services.ids import new_id
from services.jobs.uses import check_unused
from services.listing import Page, newest_first

Row = TypeVar("Row", Loss, Model)
FileRow = TypeVar("FileRow", LossFile, ModelFile)
Format = TypeVar("Format", bound=str)


@dataclass(frozen=True)
class Publications(Generic[Row, FileRow]):
    """One such catalogue.

    Args:
        row: table of the objects.
        file_row: table of their files.
        belongs_to: column of a file's row that names its object.
        noun: what an object is called, and how its ids begin.
        folder: where the files lie among the blobs.
    """

    row: type[Row]
    file_row: type[FileRow]
    belongs_to: InstrumentedAttribute[str]
    noun: Literal["loss", "model"]
    folder: str

    def put(
        self, blobs: Blobs, contents: Mapping[Format, bytes | Path]
    ) -> dict[Format, StoredFile]:
        """Put the files of an object, by format, under their digests; large ones by their path.

        Before the transaction that adds the object: others that write would wait for it.
        """
        return {form: self._put(blobs, form, content) for form, content in contents.items()}

    def store(
        self,
        session: Session,
        blobs: Blobs,
        contents: Mapping[Format, bytes | Path],
        *,
        put: Mapping[Format, StoredFile] | None = None,
    ) -> dict[str, StoredFile]:
        """The files of an object, there and held.

        In the transaction that adds the object: so nobody deletes the same file of another
        one in between. `put` has those that were put before it began.
        """
        stored: dict[str, StoredFile] = {}
        for form, file in sorted((put or self.put(blobs, contents)).items()):
            hold(session, file.blob)
            # The same file of another object may have been deleted before it was held.
            stored[form] = file if blobs.holds(file) else self._put(blobs, form, contents[form])
        return stored

    def add_trained(
        self,
        session: Session,
        *,
        job: Job,
        manifest: dict[str, Any],
        files: Mapping[str, StoredFile],
    ) -> Row:
        """Publish what `job` trained. Once: the table allows one object per job."""
        return self._add(
            session, owner=job.owner, job_id=job.id, name=job.name, manifest=manifest, files=files
        )

    def add_imported(
        self,
        session: Session,
        *,
        caller: Caller,
        name: str,
        manifest: dict[str, Any],
        files: Mapping[str, StoredFile],
    ) -> Row:
        """Publish what was trained elsewhere."""
        return self._add(
            session, owner=caller.owner, job_id=None, name=name, manifest=manifest, files=files
        )

    def get(self, session: Session, object_id: str, caller: Caller) -> Row:
        """The object, if the caller may see it."""
        query = select(self.row).where(self.row.id == object_id, caller.sees(self.row.owner))
        found = session.scalar(query)
        if found is None:
            raise NotFoundError(f"no {self.noun} {object_id}")
        return found

    def referenced(self, session: Session, object_id: str, caller: Caller, pointer: str) -> Row:
        """The object that a request's body names at `pointer`; BadInputError if there is none."""
        try:
            return self.get(session, object_id, caller)
        except NotFoundError as error:
            problem = Problem(pointer, f"no such {self.noun}")
            raise BadInputError(
                f"there is no {self.noun} {object_id}", problems=(problem,)
            ) from error

    def page(
        self, session: Session, caller: Caller, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Row]:
        """The objects that the caller may see, newest first."""
        query = select(self.row).where(caller.sees(self.row.owner))
        return newest_first(session, query, self.row.id, limit=limit, cursor=cursor)

    def files(self, session: Session, object_id: str) -> list[FileRow]:
        """The downloadable forms of an object."""
        query = select(self.file_row).where(self.belongs_to == object_id)
        return list(session.scalars(query.order_by(self.file_row.format)))

    def file(self, session: Session, object_id: str, file_format: str) -> StoredFile:
        """One downloadable form of an object."""
        row = session.get(self.file_row, (object_id, file_format))
        if row is None:
            raise NotFoundError(f"{self.noun} {object_id} has no file in format {file_format}")
        return StoredFile(blob=row.blob, size=row.size, sha256=row.sha256)

    def read(self, blobs: Blobs, object_id: str, file: StoredFile) -> bytes:
        """The whole of an object's file; StorageError that names the object if it is damaged."""
        return blobs.read(file.blob, sha256=file.sha256, of=f"{self.noun} {object_id}")

    def rename(self, session: Session, object_id: str, name: str, caller: Caller) -> Row:
        """Call an object `name`; its files stay what they are."""
        row = self.get(session, object_id, caller)
        row.name = name
        return row

    def delete(self, database: Database, blobs: Blobs, object_id: str, caller: Caller) -> int:
        """Forget an object; a file that no other one has goes with it.

        Returns: how many bytes that has freed, as far as the caller may know: of those who have
        the same file, only an admin learns.
        Raises: ConflictError while a job that is not finished uses it.
        """
        with database.write() as session:
            hold(session, object_id)
            row = self.get(session, object_id, caller)
            check_unused(session, object_id, self.noun, caller)
            files = self.files(session, object_id)
            session.delete(row)
            session.flush()
            seen = select(self.file_row.blob).join(self.row).where(caller.sees(self.row.owner))
            blob_keys = [file.blob for file in files]
            kept = set(session.scalars(seen.where(self.file_row.blob.in_(blob_keys))))
        # After the commit: no row may be left without its blob.
        for key in blob_keys:
            self.free(database, blobs, key)
        return sum(file.size for file in files if file.blob not in kept)

    def free(self, database: Database, blobs: Blobs, key: str) -> bool:
        """Remove a file that no object has; says whether it did."""
        # Held, so that nobody refers to the blob between the count and its end.
        with database.write() as session:
            let_stand_still(session)
            hold(session, key)
            if session.scalar(select(func.count()).where(self.file_row.blob == key)):
                return False
            blobs.delete(key)
            return True

    def _put(self, blobs: Blobs, form: str, content: bytes | Path) -> StoredFile:
        with content.open("rb") if isinstance(content, Path) else BytesIO(content) as file:
            digest = file_digest(file, "sha256").hexdigest()
            return blobs.put_file(f"{self.folder}/{digest}.{form}", file)

    def _add(
        self,
        session: Session,
        *,
        owner: str,
        job_id: str | None,
        name: str,
        manifest: dict[str, Any],
        files: Mapping[str, StoredFile],
    ) -> Row:
        row = self.row(
            id=new_id(self.noun),
            owner=owner,
            job_id=job_id,
            name=name,
            manifest=manifest,
            sha256=files["safetensors"].sha256,
            created=now(),
        )
        session.add(row)
        session.flush()
        session.add_all(
            self.file_row(
                **{self.belongs_to.key: row.id},
                format=file_format,
                blob=stored.blob,
                size=stored.size,
                sha256=stored.sha256,
            )
            for file_format, stored in files.items()
        )
        session.flush()
        return row
