"""`client.datasets`: sets of pictures to train restoration networks on."""

import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from mdf.client.downloads import download
from mdf.client.events import passing
from mdf.client.pages import iterate, page
from mdf.client.records import Dataset, DatasetImage, Deleted, Page, parse
from mdf.client.transport import Transport
from mdf.errors import ApiError, MDFError, ProtocolError

_PART = 64 << 20  # bytes of a request
_PROBE = 1 << 16  # bytes of a request after one that failed: its refusal arrives in any case
_CHUNK = 1 << 18


class Datasets:
    """Upload, import, list, look at and delete data sets."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(
        self,
        source: str | Path,
        *,
        name: str | None = None,
        on_bad_file: str = "skip",
        dataset_id: str | None = None,
        patience: float = 300.0,
        on_created: Callable[[Dataset], None] | None = None,
        on_bytes: Callable[[int, int], None] | None = None,
    ) -> Dataset:
        """Send a zip or tar archive, or a folder of pictures, as a new data set.

        A connection that breaks is made anew and goes on where it broke; so does a second call
        with the id of a data set whose upload was interrupted. The import of the pictures
        begins by itself: see `wait`.

        Args:
            source: the archive, or the folder, which is packed into a temporary file.
            name: what to call it; default: the file's or the folder's name.
            on_bad_file: `skip` leaves out what is no good picture, and lists it; `refuse` takes
                no data set that has such.
            dataset_id: the data set whose upload to go on with.
            patience: seconds without a byte that arrives after which to give up.
            on_created: hears of the data set before anything is sent.
            on_bytes: hears how many bytes are sent, of how many.
        """
        path = Path(source)
        with _archive(path) as (archive, size):
            if dataset_id is None:
                dataset = self._create(
                    {"kind": "upload", "size": size},
                    name=name or path.resolve().name,
                    on_bad_file=on_bad_file,
                )
            else:
                dataset = self.get(dataset_id)
                if dataset.size != size:
                    raise MDFError(
                        f"{path} has {size} bytes, and data set {dataset_id} expects "
                        f"{dataset.size}: it is not what its upload began with"
                    )
            if on_created is not None:
                on_created(dataset)
            self._send(dataset, archive, size, on_bytes, patience=patience)
        return self.get(dataset.id)

    def import_folder(
        self, location: str, *, name: str | None = None, on_bad_file: str = "skip"
    ) -> Dataset:
        """Have the server import a folder or bucket prefix that its operator allows."""
        return self._create(
            {"kind": "folder", "location": location},
            name=name or location.rstrip("/").rpartition("/")[2] or location,
            on_bad_file=on_bad_file,
        )

    def get(self, dataset_id: str) -> Dataset:
        """One data set."""
        return parse(Dataset, self._transport.get(f"/v1/datasets/{dataset_id}"))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Dataset]:
        """One page of data sets, newest first."""
        return page(self._transport, Dataset, "/v1/datasets", limit=limit, cursor=cursor)

    def iterate(self) -> Iterator[Dataset]:
        """All data sets, newest first, fetched a page at a time."""
        return iterate(self._transport, Dataset, "/v1/datasets")

    def images(self, dataset_id: str) -> Iterator[DatasetImage]:
        """The pictures of a data set in the order of their names, fetched a page at a time."""
        return iterate(self._transport, DatasetImage, f"/v1/datasets/{dataset_id}/images")

    def wait(
        self, dataset_id: str, *, timeout: float | None = None, patience: float = 300.0
    ) -> Dataset:
        """Return the data set when its import has ended, well or not: see `Dataset.state`.

        Raises TimeoutError after `timeout` seconds, the last fault when there has been no
        server for `patience` seconds, and MDFError while its upload is not complete.
        """
        started = last_contact = time.monotonic()
        pause = 0.1
        while True:
            try:
                dataset = self.get(dataset_id)
            except MDFError as error:
                if not passing(error) or time.monotonic() - last_contact > patience:
                    raise
            else:
                last_contact = time.monotonic()
                if dataset.state == "uploading":
                    raise MDFError(
                        f"{dataset.received} of {dataset.size} bytes of data set {dataset_id} are "
                        "on the server: upload the rest first"
                    )
                if dataset.done:
                    return dataset
            if timeout is not None and time.monotonic() - started + pause > timeout:
                raise TimeoutError(f"data set {dataset_id} is not ready within {timeout:g} seconds")
            time.sleep(pause)
            pause = min(pause * 1.5, 2.0)

    def save_sheet(self, dataset_id: str, target: str | Path) -> Path:
        """Save the thumbnails of a data set as the PNG file `target`."""
        return download(self._transport, f"/v1/datasets/{dataset_id}/sheet", Path(target))

    def save_image(self, dataset_id: str, position: int, target: str | Path) -> Path:
        """Save one picture of a data set as the PNG file `target`."""
        path = f"/v1/datasets/{dataset_id}/images/{position}/content"
        return download(self._transport, path, Path(target))

    def delete(self, dataset_id: str) -> Deleted:
        """Remove a data set that no unfinished job uses."""
        return parse(Deleted, self._transport.act(f"/v1/datasets/{dataset_id}", method="DELETE"))

    def _create(self, source: dict[str, object], *, name: str, on_bad_file: str) -> Dataset:
        wanted = {"name": name[:200], "source": source, "on_bad_file": on_bad_file}
        return parse(Dataset, self._transport.create("/v1/datasets", json=wanted))

    def _send(
        self,
        dataset: Dataset,
        archive: BinaryIO,
        size: int,
        on_bytes: Callable[[int, int], None] | None,
        *,
        patience: float,
    ) -> None:
        path = f"/v1/datasets/{dataset.id}/content"

        def told(sent: int) -> None:
            if on_bytes is not None:
                on_bytes(sent, size)

        offset, failures, last_success = dataset.received, 0, time.monotonic()
        while offset < size:
            try:
                if failures:
                    offset = self._offset(path)
                end = min(offset + (_PROBE if failures else _PART), size)
                self._send_part(path, offset, end, _stretch(archive, offset, end, told))
            except MDFError as error:
                if not _may_pass(error) or time.monotonic() - last_success > patience:
                    raise
                time.sleep(min(0.25 * 2**failures, 5.0))
                failures += 1
            else:
                offset, failures, last_success = end, 0, time.monotonic()

    def _send_part(self, path: str, offset: int, end: int, content: Iterator[bytes]) -> None:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(end - offset),
            "Upload-Offset": str(offset),
        }
        self._transport.ask("PATCH", path, content=content, headers=headers)

    def _offset(self, path: str) -> int:
        """How many bytes the server has."""
        offset = self._transport.ask("HEAD", path).headers.get("Upload-Offset", "")
        if not offset.isdecimal():
            raise ProtocolError(
                f"the server sent {offset!r:.80} where an Upload-Offset was expected"
            )
        return int(offset)


def _may_pass(error: MDFError) -> bool:
    """Whether to ask for the offset and go on from there."""
    if isinstance(error, ApiError) and error.code == "disk_full":
        return False
    # Bytes are there that we do not know of, or none came for long: this machine slept, say.
    behind = isinstance(error, ApiError) and error.status in (408, 409)
    return behind or passing(error)


@contextmanager
def _archive(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The archive to send, and its size in bytes."""
    if path.is_dir():
        with tempfile.TemporaryFile() as packed:
            _pack(path, cast("BinaryIO", packed))
            yield cast("BinaryIO", packed), packed.tell()
    else:
        with path.open("rb") as file:
            yield file, path.stat().st_size


def _stretch(
    archive: BinaryIO, start: int, end: int, told: Callable[[int], None]
) -> Iterator[bytes]:
    """The bytes from `start` to `end`; `told` hears how far they have come."""
    archive.seek(start)
    while start < end:
        chunk = archive.read(min(_CHUNK, end - start))
        if not chunk:
            raise MDFError("the archive became shorter while it was being sent")
        start += len(chunk)
        yield chunk
        told(start)


def _pack(folder: Path, target: BinaryIO) -> None:
    """Put the files of a folder into a zip archive: the same files make the same bytes."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    named = {file.relative_to(folder).as_posix(): file for file in files}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(named):
            if any(part.startswith(".") for part in name.split("/")):
                continue
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            entry.file_size = named[name].stat().st_size
            with named[name].open("rb") as source, archive.open(entry, "w") as packed:
                while chunk := source.read(_CHUNK):
                    packed.write(chunk)
    target.seek(0, 2)
