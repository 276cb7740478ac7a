"""Folders on the server: those that are allowed, and what lies in them."""

import errno
import os
from pathlib import Path

import pytest
from obstore.exceptions import GenericError
from obstore.store import LocalStore, MemoryStore

from services.datasets.folders import Bucket, check_location, open_folder
from services.datasets.members import BadMemberError
from services.errors import BadInputError, StorageError
from services.settings import Settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that is allowed, beside one that is not."""
    (tmp_path / "root" / "photos").mkdir(parents=True)
    (tmp_path / "root" / "photos" / "b.png").write_bytes(b"b")
    (tmp_path / "root" / "a.png").write_bytes(b"a")
    (tmp_path / "rooted").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "c.png").write_bytes(b"secret")
    return tmp_path / "root"


def test_a_folder_in_a_root_is_allowed_and_no_other(root: Path) -> None:
    roots = [str(root)]
    assert check_location(str(root), roots) == str(root)
    assert check_location(f"{root}/photos/", roots) == str(root / "photos")
    (root / "inside").symlink_to(root / "photos")
    assert check_location(f"{root}/inside", roots) == str(root / "photos")
    (root / "outside").symlink_to(root.parent / "secret")
    for location in (
        f"{root}/outside",
        f"{root}/../secret",
        f"{root}ed",
        str(root.parent),
        f"{root}/a.png",
        f"{root}/nothing",
        f"{root}/{'x' * 300}",
        "photos",
        "file:///etc",
        "/",
        "~",
    ):
        with pytest.raises(BadInputError, match=r"there is no folder .* that may be imported"):
            check_location(location, roots)
    with pytest.raises(BadInputError, match="imports no folders"):
        check_location(str(root), [])


def test_a_bucket_prefix_in_a_root_is_allowed_and_no_other() -> None:
    roots = ["s3://photos/public", "/data"]
    assert check_location("s3://photos/public/", roots) == "s3://photos/public"
    assert check_location("s3://photos/public/2024", roots) == "s3://photos/public/2024"
    for location in (
        "s3://photos",
        "s3://photos/publicity",
        "s3://photos/public/../private",
        "s3://photos/public/%2e%2e/private",
        "s3://photos/public?versions",
        "s3://photos/public//x",
        "gs://photos/public",
        "S3://photos/public",
    ):
        with pytest.raises(BadInputError):
            check_location(location, roots)


def test_files_come_in_order_and_links_are_not_followed(root: Path) -> None:
    (root / "link.png").symlink_to(root.parent / "secret" / "c.png")
    (root / "linked").symlink_to(root.parent / "secret")
    os.mkfifo(root / "pipe.png")
    found: dict[str, object] = {}
    source = open_folder(str(root), [str(root)], max_members=10)
    for step, member in source.members():
        assert 1 <= step <= source.steps
        found[member.name] = member.fault or member.read(10)
    assert found == {
        "a.png": b"a",
        "link.png": "is a symbolic link",
        "linked": "is a symbolic link",
        "pipe.png": "is a device or the like, not a file",
        "photos/b.png": b"b",
    }
    with pytest.raises(BadInputError, match="more than 3 files"):
        open_folder(str(root), [str(root)], max_members=3)


def test_a_folder_that_cannot_be_read_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: str, *arguments: int, **options: int) -> int:
        if path == "photos":  # as for another user: who runs tests may be root
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    source = open_folder(str(root), [str(root)], max_members=10)
    assert [(member.name, member.fault) for _, member in source.members()] == [
        ("a.png", None),
        ("photos", "is a folder that cannot be read: Permission denied"),
    ]


def test_a_file_that_becomes_a_link_is_not_read(root: Path) -> None:
    for _, member in open_folder(str(root), [str(root)], max_members=10).members():
        if member.name == "a.png":
            (root / "a.png").unlink()
            (root / "a.png").symlink_to(root.parent / "secret" / "c.png")
            with pytest.raises(BadMemberError, match="cannot be read"):
                member.read(10)


def test_a_folder_that_becomes_a_link_is_not_entered(root: Path) -> None:
    names = []
    for _, member in open_folder(str(root), [str(root)], max_members=10).members():
        names.append(member.name)
        if member.name == "a.png":
            (root / "photos").rename(root.parent / "moved")
            (root / "photos").symlink_to(root.parent / "secret")
    assert names == ["a.png"]


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_a_buckets_files_come_in_order(kind: str, tmp_path: Path) -> None:
    store = MemoryStore() if kind == "memory" else LocalStore(tmp_path)
    for name in ("b/2.png", "a.png", "b/1.png", "empty.png"):
        store.put(name, b"" if name == "empty.png" else name.encode() * 100)
    bucket = Bucket(store, 10)
    read = {member.name: member.read(12) for _, member in bucket.members()}
    assert list(read) == ["a.png", "b/1.png", "b/2.png", "empty.png"]
    assert (read["a.png"], read["empty.png"]) == (b"a.pnga.pnga.", b"")
    assert bucket.steps == 4
    with pytest.raises(BadInputError, match="more than 3 files"):
        Bucket(store, 3)


def test_a_file_that_has_gone_from_a_bucket_is_told() -> None:
    store = MemoryStore()
    store.put("a.png", b"a")
    bucket = Bucket(store, 10)
    store.delete("a.png")
    ((_, member),) = bucket.members()
    with pytest.raises(BadMemberError, match="cannot be read"):
        member.read(10)


def test_a_bucket_that_is_away_makes_no_file_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    store.put("a.png", b"a")
    (step_and_member,) = Bucket(store, 10).members()

    def away(*_: object, **__: object) -> None:
        raise GenericError("connection reset")

    monkeypatch.setattr("obstore.get_range", away)
    with pytest.raises(StorageError, match=r"cannot read a\.png in the bucket: connection reset"):
        step_and_member[1].read(10)


def test_roots_are_paths_and_buckets(tmp_path: Path) -> None:
    roots = Settings(dataset_roots="/data:/more data, s3://photos/public,gs://x")
    assert roots.dataset_root_list == ("/data", "/more data", "s3://photos/public", "gs://x")
    for wrong in ("data", "file:///data", "https://x"):
        with pytest.raises(ValueError, match="MDF_DATASET_ROOTS names"):
            Settings(dataset_roots=wrong)
