"""Imports from beginning to end: what is taken, what is not, and what a kill costs."""

import io
import os
import tarfile
import threading
import tracemalloc
from datetime import timedelta
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from services.access import LOCAL
from services.blobs import Blobs
from services.database.schema import Dataset, DatasetImage
from services.datasets import catalogue, importing, sheet, uploads
from services.datasets.source import Upload
from services.errors import BadInputError, StorageError
from services.images.decoding import pixel_digest
from services.jobs import claims, requests
from services.jobs.execution import COMPUTATIONS, execute
from services.jobs.run import JobRun
from services.retention import orphans
from services.run import Signal


def rows(installation, dataset):
    with installation.database.read() as session:
        return catalogue.images(session, dataset.id, limit=100).items


def test_the_pictures_of_an_archive_become_a_data_set(desk, installation, photo, encoded, zipped):
    content = zipped(
        {
            "z.png": encoded(1),
            "folder/b.jpg": encoded(2, "JPEG"),
            "folder/a.webp": encoded(3, "WebP"),
            "./c.tiff": encoded(4, "TIFF"),
            "__MACOSX/folder/._a.webp": b"litter",
            "folder/.DS_Store": b"litter",
            "Thumbs.db": b"litter",
        }
    )
    dataset = desk.upload(content)
    assert (dataset.ready, dataset.received) == (None, len(content))
    dataset = desk.run(dataset)
    assert desk.job(dataset).state == "succeeded"
    images = rows(installation, dataset)
    assert [image.name for image in images] == ["c.tiff", "folder/a.webp", "folder/b.jpg", "z.png"]
    assert [image.position for image in images] == [0, 1, 2, 3]
    assert (dataset.images, dataset.pixels) == (4, 4 * 60 * 40)
    assert (dataset.bad_files, dataset.bad_file_count) == ([], 0)
    lines = "\n".join(image.digest for image in images)
    assert dataset.digest == sha256(lines.encode()).hexdigest()
    with installation.database.read() as session:
        pictures = catalogue.pictures(session, installation.blobs, dataset.id)
    np.testing.assert_array_equal(pictures[3].read(), photo(1))
    assert pictures[3].digest == pixel_digest(60, 40, photo(1).tobytes())
    assert (pictures[3].width, pictures[3].height) == (60, 40)
    png = installation.blobs.get(images[3].blob)
    assert (images[3].size, images[3].sha256) == (len(png), sha256(png).hexdigest())
    # What was uploaded has served its time.
    assert installation.blobs.keys("uploads") == []


def test_the_order_of_the_archive_does_not_matter(desk, encoded, zipped):
    files = {f"{place}.png": encoded(place) for place in range(4)}
    files["copy of 2.png"] = files["2.png"]
    digests = {
        desk.run(desk.upload(zipped(dict(order)))).digest
        for order in (files.items(), reversed(files.items()))
    }
    assert len(digests) == 1


def test_what_is_no_good_picture_is_listed_with_its_reason(
    desk, installation, encoded, zipped, monkeypatch
):
    large = installation.settings.model_copy(update={"max_upload_bytes": 20_000})
    object.__setattr__(installation, "settings", large)
    animated = io.BytesIO()
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    frames[0].save(animated, "PNG", save_all=True, append_images=frames[1:])
    small = io.BytesIO()
    Image.new("RGB", (31, 40)).save(small, "PNG")
    good = {"good.png": encoded()}
    bad = {
        "../../etc/passwd.png": (encoded(1), "leads out of the archive"),
        "/etc/shadow.png": (encoded(2), "has an absolute path"),
        "C:\\windows\\system.png": (encoded(3), "has an absolute path"),
        "a\\..\\..\\b.png": (encoded(4), "leads out of the archive"),
        "x" * 600 + ".png": (encoded(5), "has a name of more than 500 characters"),
        "empty.png": (b"", "is empty (0 bytes)"),
        "notes.txt": (b"no picture", "is not an image that the service knows"),
        "photo.gif": (encoded(6, "GIF"), "is in GIF format"),
        "photo.bmp": (encoded(7, "BMP"), "is in BMP format"),
        "inner.zip": (zipped(good), "is an archive in the archive"),
        "truncated.png": (encoded(8)[:900], "truncated or damaged"),
        "animated.png": (animated.getvalue(), "animated or has several pages"),
        "small.png": (small.getvalue(), "each side must have at least 32"),
        "large.png": (bytes(20_001), "has more than 20000 bytes"),
        "same.png": (encoded(), "has the same pixels as good.png: kept once"),
    }
    files = good | {name: content for name, (content, _) in bad.items()}
    dataset = desk.run(desk.upload(zipped(files)))
    assert [image.name for image in rows(installation, dataset)] == ["good.png"]
    listed = {each["name"].replace("\\", "/"): each["reason"] for each in dataset.bad_files}
    assert dataset.bad_file_count == len(bad) == len(listed)
    for name, (_, reason) in bad.items():
        shown = name if len(name) <= 500 else name[:499] + "…"
        assert reason in listed[shown.replace("\\", "/")]


def test_names_that_are_there_twice_and_odd_ones(desk, installation, encoded):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", errors="surrogateescape") as archive:
        for number, name in enumerate(["a.png", "./a.png", "b\udcff\n.png"]):
            info = tarfile.TarInfo(name)
            info.size = len(encoded(number))
            archive.addfile(info, io.BytesIO(encoded(number)))
    dataset = desk.run(desk.upload(content.getvalue()))
    assert [image.name for image in rows(installation, dataset)] == ["a.png", "b?�.png"]
    assert desk.bad_files(dataset) == {"a.png": "is there a second time under the same name"}


def test_endless_names_do_not_fill_the_memory(desk, encoded):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for number in range(40):
            entry = tarfile.TarInfo(f"{number}{'x' * 900_000}.png")
            archive.addfile(entry, io.BytesIO())
        entry = tarfile.TarInfo("a.png")
        entry.size = len(encoded())
        archive.addfile(entry, io.BytesIO(encoded()))
    dataset = desk.upload(content.getvalue())
    tracemalloc.start()
    try:
        dataset = desk.run(dataset)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (dataset.images, dataset.bad_file_count) == (1, 40)
    assert peak < 20e6


def test_whoever_refuses_bad_files_hears_of_all_of_them(desk, installation, encoded, zipped):
    files = {"a.png": encoded(), "b.txt": b"no", "c.txt": b"no", "copy.png": encoded()}
    dataset = desk.run(desk.upload(zipped(files), on_bad_file="refuse"))
    assert dataset.ready is None
    assert set(desk.bad_files(dataset)) == {"b.txt", "c.txt"}
    job = desk.job(dataset)
    assert (job.state, job.error["code"]) == ("failed", "bad_input")
    assert (
        "bad files are refused, and there are some: b.txt: the file is not"
        in (job.error["message"])
    )
    assert rows(installation, dataset) == []
    # A picture that is there twice does no harm.
    del files["b.txt"], files["c.txt"]
    dataset = desk.run(desk.upload(zipped(files), on_bad_file="refuse"))
    assert (dataset.images, dataset.bad_file_count) == (1, 1)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "there is no picture in it"),
        ({"folder/.hidden.png": b""}, "there is no picture in it"),
        ({"a.txt": b"x"}, "there is no picture in it: a.txt: the file is not an image"),
    ],
)
def test_an_archive_without_a_picture_fails(desk, installation, zipped, files, reason):
    dataset = desk.run(desk.upload(zipped(files)))
    with installation.database.read() as session:
        (described,) = catalogue.describe(session, [dataset])
    assert described.state == "failed"
    assert reason in described.error


def test_an_archive_that_is_none_fails_in_words(desk):
    dataset = desk.run(desk.upload(b"hello " * 100))
    assert "is not an archive that the service knows" in desk.job(dataset).error["message"]


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("max_dataset_images", 2, "more than 2 files"),
        ("max_dataset_bytes", 20_000, "the files together have more than 20000 bytes"),
    ],
)
def test_there_are_limits_to_all_files_together(
    desk, installation, encoded, zipped, limit, value, reason
):
    dataset = desk.upload(zipped({f"{place}.png": encoded(place) for place in range(5)}))
    limited = installation.settings.model_copy(update={limit: value})
    object.__setattr__(installation, "settings", limited)
    desk.run(dataset)
    assert reason in desk.job(dataset).error["message"]


def counted(monkeypatch):
    """The decodings from now on."""
    made = []
    decode = importing.decode
    monkeypatch.setattr(
        importing, "decode", lambda content, limits: made.append(1) or decode(content, limits)
    )
    return made


@pytest.mark.parametrize("kind", ["zip", "tar", "folder"])
def test_a_paused_import_goes_on_where_it_was(
    desk, installation, encoded, zipped, monkeypatch, tmp_path, kind
):
    files = {f"{place:02}.png": encoded(place) for place in range(20)} | {"bad.txt": b"bad"}
    if kind == "folder":
        folder = tmp_path / "allowed"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        allowed = installation.settings.model_copy(update={"dataset_roots": str(folder)})
        object.__setattr__(installation, "settings", allowed)
        dataset = desk.folder(folder)
    elif kind == "zip":
        dataset = desk.upload(zipped(files))
    else:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            for name, file in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(file)
                archive.addfile(info, io.BytesIO(file))
        dataset = desk.upload(content.getvalue())
    desk.run_until(dataset, at=15, signal=Signal.PAUSE)
    assert desk.job(dataset).checkpoint is not None
    assert desk.row(dataset).ready is None
    decodings = counted(monkeypatch)
    dataset = desk.run(dataset)
    assert (dataset.images, dataset.bad_file_count) == (20, 1)
    assert 5 <= len(decodings) < 16
    assert [image.name for image in rows(installation, dataset)] == sorted(files)[:20]


def test_a_file_that_was_damaged_in_its_size_is_mended_and_does_not_spread(
    desk, installation, encoded, zipped
):
    first = desk.run(desk.upload(zipped({"a.png": encoded(1)})))
    (row,) = rows(installation, first)
    whole = installation.blobs.get(row.blob)
    installation.blobs.put(row.blob, whole[:-9] + b"!" + whole[-8:])
    with pytest.raises(StorageError, match="is damaged"):
        catalogue.read(installation.blobs, row)
    second = desk.run(desk.upload(zipped({"a.png": encoded(1)})))
    assert desk.job(second).state == "succeeded"
    for dataset in (first, second):
        (row,) = rows(installation, dataset)
        assert catalogue.read(installation.blobs, row) == whole


def test_files_that_are_missing_or_cut_short_are_stored_again(desk, installation, encoded, zipped):
    files = {f"{place:02}.png": encoded(place) for place in range(12)}
    first = desk.run(desk.upload(zipped(files)))
    whole = {key: installation.blobs.get(key) for key in installation.blobs.keys("datasets")}
    missing, short, *_ = whole
    installation.blobs.delete(missing)
    installation.blobs.put(short, whole[short][:100])
    second = desk.upload(zipped(files))
    desk.run_until(second, at=10, signal=Signal.PAUSE)
    installation.blobs.put(missing, whole[missing][:100])  # after the checkpoint
    second = desk.run(second)
    with installation.database.read() as session:
        for dataset in (first, second):
            for row in catalogue.images(session, dataset.id, limit=100).items:
                assert catalogue.read(installation.blobs, row) == whole[row.blob]
    assert {key: installation.blobs.get(key) for key in whole} == whole


@pytest.fixture
def halves(desk, installation, encoded, zipped):
    """A data set of three pictures that was uploaded in two parts, and the keys of these."""
    content = zipped({f"{place}.png": encoded(place) for place in range(3)})
    dataset, _ = desk.create(Upload(size=len(content)))
    middle = len(content) // 2
    for offset, part in ((0, content[:middle]), (middle, content[middle:])):
        dataset, _ = uploads.append(installation, dataset.id, offset, part, LOCAL)
    return dataset, installation.blobs.keys(catalogue.upload_folder(dataset.id))


@pytest.mark.parametrize("place", [0, 1])
def test_an_upload_that_has_lost_the_end_of_a_part_fails_and_goes_on_from_a_backup(
    desk, installation, halves, place
):
    dataset, parts = halves
    backup = installation.blobs.get(parts[place])
    installation.blobs.put(parts[place], backup[:-100])
    assert desk.run(dataset).ready is None
    assert desk.job(dataset).error == {
        "code": "internal",
        "message": f"the stored file {parts[place]} is missing or damaged: take it from a backup "
        "and retry, or upload it again",
        "retryable": True,
    }
    installation.blobs.put(parts[place], backup)
    with installation.database.write() as session:
        requests.retry(session, dataset.job_id, LOCAL)
    assert desk.run(dataset).images == 3


def test_an_upload_that_the_disk_cannot_read_may_be_retried(
    desk, installation, halves, lose_sector
):
    dataset, parts = halves
    lose_sector(installation.blobs.folder / parts[0])
    assert desk.run(dataset).ready is None
    error = desk.job(dataset).error
    assert (error["code"], error["retryable"]) == ("internal", True)
    assert f"the stored file {parts[0]} is missing or damaged" in error["message"]


def test_an_import_whose_files_were_swept_begins_anew(
    desk, installation, encoded, zipped, monkeypatch
):
    dataset = desk.upload(zipped({f"{place:02}.png": encoded(place) for place in range(12)}))
    desk.run_until(dataset, at=10, signal=Signal.PAUSE)
    assert installation.blobs.keys("datasets")
    with installation.database.write() as session:
        requests.cancel(session, dataset.job_id, LOCAL)
    for file in installation.blobs.folder.rglob("*"):
        os.utime(file, (0, 0))
    assert orphans.sweep(installation) == []  # it ended just now
    monkeypatch.setattr(orphans, "AGE", timedelta(seconds=-5))
    orphans.sweep(installation)
    assert installation.blobs.keys("datasets") == []
    assert installation.blobs.keys("uploads")  # it may be retried
    with installation.database.write() as session:
        requests.retry(session, dataset.job_id, LOCAL)
    dataset = desk.run(dataset)
    assert dataset.images == 12
    with installation.database.read() as session:
        for picture in catalogue.pictures(session, installation.blobs, dataset.id):
            assert picture.read().shape == (40, 60, 3)


def test_a_folder_that_changes_meanwhile_is_imported_anew(desk, installation, encoded, tmp_path):
    folder = tmp_path / "allowed"
    folder.mkdir()
    for place in range(10):
        (folder / f"{place}.png").write_bytes(encoded(place))
    allowed = installation.settings.model_copy(update={"dataset_roots": str(folder)})
    object.__setattr__(installation, "settings", allowed)
    dataset = desk.folder(folder)
    desk.run_until(dataset, at=8, signal=Signal.PAUSE)
    (folder / "0.png").unlink()
    dataset = desk.run(dataset)
    assert [image.name for image in rows(installation, dataset)] == [
        f"{place}.png" for place in range(1, 10)
    ]


def test_a_canceled_import_leaves_no_data_set(desk, installation, encoded, zipped):
    dataset = desk.upload(zipped({f"{place}.png": encoded(place) for place in range(8)}))
    claim = desk.claim(dataset)
    run = JobRun(installation, claim, threading.Event())
    with installation.database.write() as session:
        requests.cancel(session, dataset.job_id, LOCAL)
    run.pulse()
    execute(installation, run, COMPUTATIONS)
    with installation.database.read() as session:
        (described,) = catalogue.describe(session, [desk.row(dataset)])
    assert (described.state, described.error) == ("failed", "its import was canceled")


def test_an_attempt_that_lost_its_job_publishes_nothing(desk, installation, encoded, zipped):
    dataset = desk.upload(zipped({"a.png": encoded()}))
    first = JobRun(installation, desk.claim(dataset), threading.Event())
    publish = importing.import_dataset_job(installation, desk.job(dataset), first)
    with installation.database.write() as session:
        claims.release(session, first.claim, lost=True, max_attempts=5)
    with pytest.raises(claims.StaleRunError):
        first.publish(publish)
    assert desk.row(dataset).ready is None
    assert installation.blobs.keys("uploads")
    assert desk.run(dataset).images == 1


def test_an_attempt_that_lost_its_job_changes_no_list_of_bad_files(
    desk, installation, encoded, zipped
):
    files = {"a.png": encoded(), "b.txt": b"no"}
    dataset = desk.upload(zipped(files), on_bad_file="refuse")
    first = JobRun(installation, desk.claim(dataset), threading.Event())
    lost = importing._Import(installation, dataset, [], first)
    lost._state.add_bad("gone.txt", "was there at the first attempt only")
    with installation.database.write() as session:
        claims.release(session, first.claim, lost=True, max_attempts=5)
        session.get_one(Dataset, dataset.id).on_bad_file = "skip"
    assert desk.run(dataset).images == 1
    with pytest.raises(BadInputError, match=r"gone\.txt"):
        lost._conclude()
    assert set(desk.bad_files(dataset)) == {"b.txt"}


def test_the_same_picture_of_two_data_sets_is_stored_once(desk, installation, encoded, zipped):
    desk.run(desk.upload(zipped({"a.png": encoded(1)})))
    stored = {}
    put = Blobs.put

    def note(blobs, key, content):
        stored[key] = content
        return put(blobs, key, content)

    Blobs.put = note
    try:
        dataset = desk.run(desk.upload(zipped({"b.png": encoded(1), "c.png": encoded(2)})))
    finally:
        Blobs.put = put
    first, second = rows(installation, dataset)
    assert first.blob not in stored
    assert second.blob in stored


def test_many_rows_are_listed_in_pages(desk, installation, encoded, zipped):
    dataset = desk.run(desk.upload(zipped({f"{place}.png": encoded(place) for place in range(5)})))
    found, cursor = [], None
    with installation.database.read() as session:
        while True:
            page = catalogue.images(session, dataset.id, limit=2, cursor=cursor)
            found += [image.position for image in page.items]
            if (cursor := page.next_cursor) is None:
                break
        assert session.get_one(DatasetImage, (dataset.id, 4)).name == "4.png"
    assert found == [0, 1, 2, 3, 4]


def test_the_sheet_shows_some_of_many_pictures(photo):
    assert sheet.shown_positions(3) == [0, 1, 2]
    assert len(sheet.shown_positions(1000)) == 48
    assert sheet.shown_positions(1000)[:3] == [0, 20, 41]
    content = sheet.draw_sheet(photo(place) for place in range(10))
    assert content == sheet.draw_sheet(photo(place) for place in range(10))
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (8 * 152 + 8, 2 * 152 + 8)
        # The first thumbnail lies in the middle of its cell.
        np.testing.assert_allclose(np.asarray(image)[8 + 72, 8 + 72], photo(0)[20, 30], atol=40)
        assert image.getpixel((2, 2)) == (247, 247, 247)
