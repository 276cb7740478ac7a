"""The import of a data set: every file looked at, every picture decoded and kept as PNG.

Files are taken in the order of their source, decoded side by side in processes of their own,
and entered in that order: a checkpoint says how many are done. The rows that make the data set
are written in the end, all at once.
"""

import json
import logging
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, event, insert, select, update
from sqlalchemy.orm import Session

from services.blobs import StoredFile
from services.database.schema import Dataset, DatasetImage, DatasetPart, Job, now
from services.datasets import catalogue
from services.datasets.archives import is_archive, open_archive
from services.datasets.folders import open_folder
from services.datasets.members import MAX_NAME, BadMemberError, Member, Source, shown
from services.datasets.parts import UploadedFile
from services.datasets.picture import is_litter
from services.datasets.sheet import draw_sheet, shown_positions
from services.datasets.spec import DatasetImport
from services.errors import BadInputError
from services.images.catalogue import pixels
from services.images.decoding import DecodedImage, Limits, decode
from services.installation import Installation
from services.run import Canceled, Paused, Run, Signal

Publish = Callable[[Session, Job], None]

_log = logging.getLogger(__name__)
_LISTED = 1000  # bad files that are kept by name
_TOLD = 5  # bad files in the message of a refusal
_MOST_DECODERS = 4
# Folders, litter and the like are members too; Macs pack two of them for every picture.
_MEMBERS_PER_IMAGE = 4


def import_dataset_job(installation: Installation, job: Job, run: Run) -> Publish:
    """Import what the job's spec names; what comes back makes the data set ready.

    Raises: BadInputError if there is no picture, if the archive cannot be read, or if a file
    is bad and bad files are to be refused.
    """
    spec = DatasetImport.model_validate(job.spec)
    with installation.database.read() as session:
        dataset = session.get_one(Dataset, spec.dataset_id)
        parts = catalogue.parts(session, dataset.id)
    return _Import(installation, dataset, parts, run).make()


@dataclass(frozen=True)
class _Kept:
    """A picture whose file is stored."""

    name: str
    digest: str
    width: int
    height: int
    size: int
    sha256: str


@dataclass
class _State:
    """What is done: all that a checkpoint holds."""

    done: int = 0  # members
    last: str = ""  # name of the last of them
    bytes_read: int = 0
    kept: list[_Kept] = field(default_factory=list)
    bad_files: list[dict[str, str]] = field(default_factory=list)
    bad_file_count: int = 0

    def dump(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def load(cls, content: bytes) -> "_State":
        """From JSON."""
        values = json.loads(content)
        return cls(**values | {"kept": [_Kept(**kept) for kept in values["kept"]]})

    def add_bad(self, name: str, reason: str) -> None:
        """Note a file that is not taken."""
        self.bad_file_count += 1
        if len(self.bad_files) < _LISTED:
            self.bad_files.append({"name": shown(name), "reason": reason})


@dataclass(frozen=True)
class _Begun:
    """A member that is being decoded, or what is known of it without that."""

    number: int
    step: int
    name: str
    size: int
    decoding: Future[DecodedImage] | None
    reason: str | None


class _Import:
    """One attempt at one import."""

    def __init__(
        self, installation: Installation, dataset: Dataset, parts: Sequence[DatasetPart], run: Run
    ) -> None:
        self._installation = installation
        self._blobs = installation.blobs
        self._settings = installation.settings
        self._limits = Limits.of(installation.settings)
        self._dataset = dataset
        self._parts = parts
        self._run = run
        self._state = _State()
        self._digests: dict[str, _Kept] = {}

    def make(self) -> Publish:
        """Take everything, and give what publishes it."""
        source = self._open()
        self._resume()
        if not self._take(source):
            self._run.log("the folder has changed since the last attempt: the import begins anew")
            self._state, self._digests = _State(), {}
            self._take(source)
        return self._conclude()

    def _open(self) -> Source:
        most = _MEMBERS_PER_IMAGE * self._settings.max_dataset_images
        if self._dataset.source["kind"] == "folder":
            return open_folder(
                self._dataset.source["location"],
                self._settings.dataset_root_list,
                max_members=most,
            )
        file = UploadedFile(self._blobs, self._parts, self._heed)
        return open_archive(file, max_bytes=self._settings.max_dataset_bytes, max_members=most)

    def _resume(self) -> None:
        content = self._run.load_checkpoint()
        if content is None:
            return
        state = _State.load(content)
        self._reserve(kept.digest for kept in state.kept)
        # A failed import's files may have been swept away before it was retried.
        there = {entry.key: entry.size for entry in self._blobs.entries("datasets")}
        if all(there.get(catalogue.image_key(kept.digest)) == kept.size for kept in state.kept):
            self._state = state
            self._digests = {kept.digest: kept for kept in state.kept}

    def _take(self, source: Source) -> bool:
        """Go through all members; False if they are not those of the checkpoint."""
        resumed = self._state.done
        names: set[bytes] = set()
        begun: deque[_Begun] = deque()
        decoders = min(_MOST_DECODERS, self._settings.threads or len(os.sched_getaffinity(0)))
        with ThreadPoolExecutor(decoders) as pool:
            number = 0
            for number, (step, member) in enumerate(source.members(), 1):
                self._heed()
                if number > resumed:
                    begun.append(self._begin(pool, number, step, member, names))
                elif number == resumed and _plain(member.name) != self._state.last:
                    return False
                names.add(_mark(_plain(member.name)))
                while len(begun) > decoders:
                    self._enter(begun.popleft(), source.steps)
            while begun:
                self._heed()
                self._enter(begun.popleft(), source.steps)
        return number >= resumed

    def _begin(
        self, pool: ThreadPoolExecutor, number: int, step: int, member: Member, names: set[bytes]
    ) -> _Begun:
        content, reason, name = b"", None, _plain(member.name)
        if not is_litter(name):
            reason = member.fault or _fault_of_name(name)
            if reason is None and _mark(name) in names:
                reason = "is there a second time under the same name"
            if reason is None:
                content, reason = self._read(member)
        decoding = pool.submit(decode, content, self._limits) if content else None
        return _Begun(number, step, name, len(content), decoding, reason)

    def _read(self, member: Member) -> tuple[bytes, str | None]:
        """The file's bytes, or why there are none."""
        most = self._limits.max_bytes
        try:
            content = member.read(most + 1)
        except BadMemberError as error:
            return b"", str(error)
        if not content:
            return b"", "is empty (0 bytes)"
        if len(content) > most:
            return b"", f"has more than {most} bytes, which is the most that is accepted"
        if is_archive(content):
            return b"", "is an archive in the archive: unpack it, and pack its pictures"
        return content, None

    def _enter(self, begun: _Begun, steps: int) -> None:
        """Wait for the member's decoding, and note what has become of it."""
        state, reason = self._state, begun.reason
        if begun.decoding is not None:
            try:
                kept = self._keep(begun.name, begun.decoding.result())
            except BadInputError as error:
                reason = error.message
            else:
                state.kept.append(kept)
                self._digests.setdefault(kept.digest, kept)
        if reason is not None:
            state.add_bad(begun.name, reason)
        state.done, state.last = begun.number, begun.name
        state.bytes_read += begun.size
        self._check_totals()
        self._run.progress(
            scale=1, scales=1, step=max(1, min(begun.step, steps)), steps=max(1, steps)
        )

    def _keep(self, name: str, decoded: DecodedImage) -> _Kept:
        file = self._digests.get(decoded.digest) or self._file(decoded)
        return _Kept(
            shown(name),
            decoded.digest,
            decoded.width,
            decoded.height,
            size=file.size,
            sha256=file.sha256,
        )

    def _file(self, decoded: DecodedImage) -> StoredFile:
        """The picture's file: another data set's if it is whole, or stored anew."""
        known = self._stored(decoded.digest)
        if known is not None and self._blobs.is_whole(known):
            return known
        stored = self._blobs.put(catalogue.image_key(decoded.digest), decoded.png)
        if known is not None and known != stored:
            catalogue.replace_file(self._installation.database, decoded.digest, stored)
        return stored

    def _reserve(self, digests: Iterable[str]) -> None:
        catalogue.reserve(self._installation.database, self._dataset.id, set(digests))

    def _stored(self, digest: str) -> StoredFile | None:
        """The same picture in another data set; in any case its file may be kept from now on."""
        self._reserve([digest])
        with self._installation.database.read() as session:
            query = select(DatasetImage).where(DatasetImage.digest == digest)
            row = session.scalar(query.limit(1))
        if row is None:
            return None
        return StoredFile(blob=row.blob, size=row.size, sha256=row.sha256)

    def _check_totals(self) -> None:
        state, settings = self._state, self._settings
        if len(state.kept) + state.bad_file_count > settings.max_dataset_images:
            raise BadInputError(
                f"there are more than {settings.max_dataset_images} files, which is the most that "
                "is accepted (MDF_MAX_DATASET_IMAGES): make several data sets of them"
            )
        if state.bytes_read > settings.max_dataset_bytes:
            raise BadInputError(
                f"the files together have more than {settings.max_dataset_bytes} bytes, which is "
                "the most that is accepted (MDF_MAX_DATASET_BYTES): make several data sets of them"
            )

    def _heed(self) -> None:
        """Do what is asked of the run."""
        match self._run.poll():
            case Signal.CANCEL:
                raise Canceled
            case Signal.PAUSE:
                self._run.save_checkpoint(self._state.dump())
                raise Paused
            case Signal.CHECKPOINT:
                self._run.save_checkpoint(self._state.dump())

    def _conclude(self) -> Publish:
        state = self._state
        if self._dataset.on_bad_file == "refuse" and state.bad_file_count:
            self._tell_bad_files()
            raise BadInputError(f"bad files are refused, and there are some: {self._some_bad()}")
        kept = self._first_of_each()
        if not kept:
            self._tell_bad_files()
            raise BadInputError(f"there is no picture in it{self._some_bad(': ')}")
        sheet = draw_sheet(self._thumbnails(kept))
        stored = self._blobs.put(catalogue.sheet_key(self._dataset.id), sheet)
        digest = sha256("\n".join(each.digest for each in kept).encode()).hexdigest()
        self._run.log(f"{len(kept)} pictures; {state.bad_file_count} files were not taken")
        values: dict[str, Any] = {
            "ready": now(),
            "digest": digest,
            "images": len(kept),
            "pixels": sum(each.width * each.height for each in kept),
            "bad_files": state.bad_files,
            "bad_file_count": state.bad_file_count,
            "sheet": stored.blob,
        }
        dataset_id, blobs = self._dataset.id, self._blobs

        def publish(session: Session, job: Job) -> None:  # noqa: ARG001 - the job's end says it all
            rows = [
                {
                    "dataset_id": dataset_id,
                    "position": position,
                    "blob": catalogue.image_key(each.digest),
                    **asdict(each),
                }
                for position, each in enumerate(kept)
            ]
            session.execute(insert(DatasetImage), rows)
            dataset = session.get_one(Dataset, dataset_id)
            for name, value in values.items():
                setattr(dataset, name, value)
            session.execute(delete(DatasetPart).where(DatasetPart.dataset_id == dataset_id))
            catalogue.release(session, dataset_id)
            session.flush()

            def clear(_: Session) -> None:
                try:
                    blobs.delete_all(blobs.keys(catalogue.upload_folder(dataset_id)))
                except Exception as error:  # noqa: BLE001 - the data set is there; a sweep follows
                    _log.warning("the upload of %s is not cleared away: %s", dataset_id, error)

            event.listen(session, "after_commit", clear, once=True)

        return publish

    def _first_of_each(self) -> list[_Kept]:
        """The pictures in the order of their names; the same pixels once, the others listed."""
        first: dict[str, _Kept] = {}
        for kept in sorted(self._state.kept, key=lambda each: each.name):
            same = first.setdefault(kept.digest, kept)
            if same is not kept:
                self._state.add_bad(kept.name, f"has the same pixels as {same.name}: kept once")
        return list(first.values())

    def _thumbnails(self, kept: Sequence[_Kept]) -> Iterator[NDArray[np.uint8]]:
        for position in shown_positions(len(kept)):
            self._heed()
            yield pixels(self._read_stored(kept[position]))

    def _read_stored(self, kept: _Kept) -> bytes:
        key = catalogue.image_key(kept.digest)
        return self._blobs.read(key, sha256=kept.sha256, of=f"the picture {kept.name}")

    def _tell_bad_files(self) -> None:
        """Let the owner see which, also though the import fails."""
        told = {"bad_files": self._state.bad_files, "bad_file_count": self._state.bad_file_count}
        # Not once it is ready: this attempt may have lost its job to one that was done.
        unready = Dataset.id == self._dataset.id, Dataset.ready.is_(None)
        with self._installation.database.write() as session:
            session.execute(update(Dataset).where(*unready).values(**told))

    def _some_bad(self, before: str = "") -> str:
        state = self._state
        told = [f"{bad['name']}: {bad['reason']}" for bad in state.bad_files[:_TOLD]]
        if not told:
            return ""
        more = state.bad_file_count - len(told)
        return before + "; ".join(told) + (f"; and {more} more" if more else "")


def _plain(name: str) -> str:
    """As tars of `.` and zips of Windows would be named elsewhere."""
    return name.replace("\\", "/").removeprefix("./")


def _mark(name: str) -> bytes:
    """What is remembered of a name: those of a tar may have a million characters each."""
    return sha256(name.encode("utf-8", "surrogatepass")).digest()


def _fault_of_name(name: str) -> str | None:
    parts = name.split("/")
    if parts[0] == "" or re.match(r"[A-Za-z]:", name):
        return "has an absolute path"
    if ".." in parts:
        return "has a path that leads out of the archive (..)"
    if len(name) > MAX_NAME:
        return f"has a name of more than {MAX_NAME} characters"
    return None
