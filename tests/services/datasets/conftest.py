"""Photographs, archives of them, and imports without a worker."""

import io
import threading
import zipfile
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from services.access import LOCAL, Caller
from services.database.schema import Dataset, Job
from services.datasets import uploads
from services.datasets.source import Folder, OnBadFile, Upload
from services.installation import Installation
from services.jobs import claims
from services.jobs.claims import Claim
from services.jobs.execution import COMPUTATIONS, execute
from services.jobs.run import JobRun
from services.run import Signal

PHOTO = np.ascontiguousarray(data.astronaut()[:40, :60])


def _photo(number: int) -> np.ndarray:
    return np.ascontiguousarray(np.roll(PHOTO, number, axis=1))


class Stopping(JobRun):
    """Asks for something at one of the polls."""

    def __init__(self, *arguments, at, signal):
        super().__init__(*arguments)
        self._at, self._asked = at, signal

    def poll(self):
        self._at -= 1
        return self._asked if self._at == 0 else Signal.CONTINUE


class Desk:
    """Makes data sets, and runs their imports in this process."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation

    def upload(
        self, content: bytes, *, on_bad_file: OnBadFile = "skip", caller: Caller = LOCAL
    ) -> Dataset:
        """A data set whose archive has arrived."""
        dataset, _ = self.create(Upload(size=len(content)), on_bad_file, caller)
        return uploads.append(self.installation, dataset.id, 0, content, caller)[0]

    def folder(self, location: Path, *, on_bad_file: OnBadFile = "skip") -> Dataset:
        """A data set of a folder."""
        return self.create(Folder(location=str(location)), on_bad_file, LOCAL)[0]

    def create(
        self, source: Upload | Folder, on_bad_file: OnBadFile = "skip", caller: Caller = LOCAL
    ) -> tuple[Dataset, Job | None]:
        """A data set, and its job if it has one."""
        with self.installation.database.write() as session:
            return uploads.create(
                session,
                self.installation,
                source,
                name="photographs",
                on_bad_file=on_bad_file,
                caller=caller,
            )

    def claim(self, dataset: Dataset) -> Claim:
        """Take its import as a worker does."""
        with self.installation.database.write() as session:
            job = session.get_one(Job, dataset.job_id)
            wanted = Claim(job.id, job.token + 1)
            lease = timedelta(seconds=30)
            assert claims.claim(session, wanted, holder="test", host="test", lease=lease)
        return wanted

    def run(self, dataset: Dataset) -> Dataset:
        """Run its import to the end; gives its row."""
        run = JobRun(self.installation, self.claim(dataset), threading.Event())
        execute(self.installation, run, COMPUTATIONS)
        return self.row(dataset)

    def run_until(self, dataset: Dataset, *, at: int, signal: Signal) -> None:
        """Run its import until it is told `signal`, at its nth poll."""
        claim = self.claim(dataset)
        run = Stopping(self.installation, claim, threading.Event(), at=at, signal=signal)
        execute(self.installation, run, COMPUTATIONS)

    def row(self, dataset: Dataset) -> Dataset:
        """Its row as it is now."""
        with self.installation.database.read() as session:
            return session.get_one(Dataset, dataset.id)

    def job(self, dataset: Dataset) -> Job:
        """Its job as it is now."""
        with self.installation.database.read() as session:
            return session.get_one(Job, dataset.job_id)

    def bad_files(self, dataset: Dataset) -> Mapping[str, str]:
        """Reasons by name."""
        return {bad["name"]: bad["reason"] for bad in self.row(dataset).bad_files}


@pytest.fixture
def desk(installation: Installation) -> Desk:
    return Desk(installation)


@pytest.fixture
def photo() -> Callable[[int], np.ndarray]:
    """A photograph of 60×40 px that differs from those of other numbers."""
    return _photo


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    """The same as a file."""

    def encode(number: int = 0, form: str = "PNG") -> bytes:
        content = io.BytesIO()
        Image.fromarray(_photo(number)).save(content, form)
        return content.getvalue()

    return encode


@pytest.fixture
def zipped() -> Callable[[Mapping[str, bytes]], bytes]:
    """A zip archive of files by name."""

    def pack(files: Mapping[str, bytes]) -> bytes:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, file in files.items():
                archive.writestr(name, file)
        return content.getvalue()

    return pack
