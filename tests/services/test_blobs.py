"""The blob store, on a real folder."""

import errno
import io
import os
import time
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import GenericError

from services.blobs import (
    BlobDamagedError,
    BlobMissingError,
    Blobs,
    BlobUnreadableError,
    StoredFile,
)
from services.errors import DiskFullError, StorageError


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "with a space")


def test_what_is_put_comes_back_and_names_its_digest(blobs: Blobs) -> None:
    stored = blobs.put("losses/a.safetensors", b"content")
    assert (stored.size, stored.sha256) == (7, sha256(b"content").hexdigest())
    assert blobs.get("losses/a.safetensors") == b"content"
    assert blobs.has("losses/a.safetensors")
    assert not blobs.has("losses/b.safetensors")
    assert not blobs.has("losses")


def test_a_file_is_put_as_its_content_is(blobs: Blobs, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 20_000)
    with source.open("rb") as file:
        stored = blobs.put_file("artifacts/job/restored", file)
    assert blobs.get("artifacts/job/restored") == source.read_bytes()
    assert stored == blobs.put("artifacts/job/restored", source.read_bytes())
    assert stored == blobs.put_file("artifacts/job/restored", io.BytesIO(source.read_bytes()))
    assert blobs.keys("artifacts") == ["artifacts/job/restored"]


def test_a_put_replaces_whole_and_leaves_no_temporary_file(blobs: Blobs) -> None:
    blobs.put("a", b"first")
    blobs.put("a", b"second")
    assert blobs.get("a") == b"second"
    assert blobs.folder is not None
    assert [path.name for path in blobs.folder.iterdir()] == ["a"]


def test_a_range_is_streamed_in_chunks(blobs: Blobs) -> None:
    blobs.put("a", bytes(range(100)))
    chunks = list(blobs.stream("a", start=10, length=25, chunk=10))
    assert [len(chunk) for chunk in chunks] == [10, 10, 5]
    assert b"".join(chunks) == bytes(range(10, 35))


@pytest.mark.parametrize("left", [25, 20], ids=["within a chunk", "between two"])
@pytest.mark.parametrize("location", ["folder", "bucket"])
def test_a_file_that_has_lost_its_end_is_not_streamed_as_whole(
    tmp_path: Path, location: str, left: int
) -> None:
    blobs = Blobs("memory:///" if location == "bucket" else tmp_path)
    blobs.put("images/a", bytes(left))
    chunks = blobs.stream("images/a", length=30, chunk=20)
    assert len(next(chunks)) == 20
    with pytest.raises(BlobDamagedError, match="images/a") as raised:
        next(chunks)
    assert raised.type is BlobDamagedError  # the disk has read all that there is


def test_a_missing_blob_is_named(blobs: Blobs) -> None:
    with pytest.raises(BlobMissingError, match="nowhere"):
        blobs.get("nowhere")
    with pytest.raises(BlobMissingError, match="nowhere"):
        list(blobs.stream("nowhere", length=1))
    blobs.delete("nowhere")


def test_what_the_disk_cannot_read_is_told_as_such(
    blobs: Blobs, lose_sector: Callable[[Path], None]
) -> None:
    stored = blobs.put("images/a", b"content")
    assert blobs.is_whole(stored)
    assert blobs.folder is not None
    lose_sector(blobs.folder / "images" / "a")
    with pytest.raises(BlobUnreadableError, match="images/a"):
        blobs.get("images/a")
    with pytest.raises(BlobUnreadableError, match="images/a"):
        list(blobs.stream("images/a", length=7))
    with pytest.raises(StorageError, match=r"file of image 1 cannot be read: upload it again"):
        blobs.read("images/a", sha256=stored.sha256, of="image 1")
    assert not blobs.is_whole(stored)
    assert blobs.is_whole(blobs.put("images/a", b"content"))
    assert not blobs.is_whole(StoredFile("images/b", stored.size, stored.sha256))


def test_want_of_permission_or_descriptors_is_no_damage(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> bytes:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    blobs.put("a", b"x")
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Too many open files"):
        blobs.get("a")


def test_a_bucket_that_is_away_says_nothing_of_its_blobs(monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = Blobs("memory:///")
    blobs.put("a", b"x")

    def fail(*_: object, **__: object) -> None:
        raise GenericError("no route to the bucket")

    monkeypatch.setattr(obstore, "get", fail)
    monkeypatch.setattr(obstore, "get_range", fail)
    with pytest.raises(GenericError):
        blobs.get("a")
    with pytest.raises(GenericError):
        list(blobs.stream("a", length=1))


def test_keys_are_listed_below_a_prefix(blobs: Blobs) -> None:
    for key in ("images/b.png", "images/a.png", "losses/c"):
        blobs.put(key, b"x")
    assert blobs.keys("images") == ["images/a.png", "images/b.png"]
    blobs.delete("images/a.png")
    assert blobs.keys("images") == ["images/b.png"]


def test_a_put_below_the_floor_of_free_disk_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, floor_bytes=1 << 62)
    with pytest.raises(DiskFullError, match="MDF_DISK_FLOOR_BYTES"):
        blobs.put("a", b"x")
    assert blobs.keys("") == []


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EIO, StorageError),
        (errno.EACCES, StorageError),
    ],
)
def test_only_a_full_disk_is_called_full_and_nothing_is_left(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    blobs.put("folder/a", b"first")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error, match="cannot store folder/a"):
        blobs.put("folder/a", b"second")
    assert blobs.get("folder/a") == b"first"
    assert blobs.folder is not None
    assert [path.name for path in (blobs.folder / "folder").iterdir()] == ["a"]


def test_a_put_makes_the_file_and_every_new_folder_durable(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda number: synced.append(str(Path(f"/proc/self/fd/{number}").readlink()))
    )
    blobs.put("one/two/a", b"x")
    root = str(blobs.folder)
    assert [root, f"{root}/one", f"{root}/one/two"] == [synced[0], synced[1], synced[-1]]
    assert synced[2].startswith(f"{root}/one/two/.tmp-")


def test_what_a_killed_put_left_is_no_key_and_is_swept_once_old(blobs: Blobs) -> None:
    blobs.put("checkpoints/job/a", b"x")
    assert blobs.folder is not None
    old, new = (blobs.folder / "checkpoints" / "job" / f".tmp-{name}" for name in ("old", "new"))
    for draft in (old, new):
        draft.write_bytes(b"half")
    hour_ago = time.time() - 3601
    os.utime(old, (hour_ago, hour_ago))
    assert blobs.keys("checkpoints") == ["checkpoints/job/a"]
    assert blobs.sweep_drafts(timedelta(hours=1)) == 1
    assert sorted(path.name for path in old.parent.iterdir()) == [".tmp-new", "a"]


def test_a_bucket_that_fails_is_a_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = Blobs("memory:///")

    def fail(*_: object) -> None:
        raise GenericError("no route to the bucket")

    monkeypatch.setattr(obstore, "put", fail)
    with pytest.raises(StorageError, match="no route"):
        blobs.put("a", b"x")


def test_many_blobs_go_at_once_also_if_some_have_gone(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    for key in ("a/1", "a/2", "b/3"):
        blobs.put(key, b"x")
    blobs.delete_all(["a/1", "a/gone", "a/2"])
    assert blobs.keys("") == ["b/3"]
    blobs.delete_all([])
