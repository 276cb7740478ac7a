"""The blob store, on a real folder."""

from hashlib import sha256
from pathlib import Path

import pytest

from services.blobs import BlobMissingError, Blobs
from services.errors import DiskFullError


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "with a space")


def test_what_is_put_comes_back_and_names_its_digest(blobs: Blobs) -> None:
    stored = blobs.put("losses/a.safetensors", b"content")
    assert (stored.size, stored.sha256) == (7, sha256(b"content").hexdigest())
    assert blobs.get("losses/a.safetensors") == b"content"


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


def test_a_missing_blob_is_named(blobs: Blobs) -> None:
    with pytest.raises(BlobMissingError, match="nowhere"):
        blobs.get("nowhere")
    with pytest.raises(BlobMissingError, match="nowhere"):
        list(blobs.stream("nowhere", length=1))
    blobs.delete("nowhere")


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
