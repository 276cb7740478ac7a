"""A backup holds one state of the installation, whole; a restore makes it again, or nothing."""

import fcntl
import io
import json
import os
import stat
import tarfile
from contextlib import contextmanager
from datetime import timedelta
from operator import attrgetter
from pathlib import Path

import pytest
from pydantic import SecretStr
from skimage import data
from sqlalchemy import select, text

from services import browser_sessions, keys
from services.access import LOCAL, Caller
from services.backup import BackupError, back_up, clear_home, restore
from services.database.schema import Artifact, Image, Job, JobSample, Worker, now
from services.datasets import catalogue as datasets
from services.errors import ConflictError, DiskFullError
from services.images import catalogue as images
from services.installation import Installation
from services.jobs import claims
from services.jobs.claims import Claim
from services.jobs.submission import submit
from services.phase1.recipe import DiscriminatorTraining
from services.retention.references import References
from services.settings import Settings


@pytest.fixture
def job(installation, seed_image) -> Job:
    """A job that runs: it has a checkpoint and a sample."""
    spec = {"seed_image_ids": [seed_image.id], "task": {"kind": "sisr"}, "preset": "quick"}
    blobs = installation.blobs
    with installation.database.write() as session:
        job = submit(session, DiscriminatorTraining.model_validate(spec), caller=LOCAL)
        claim = Claim(job.id, 1)
        lease = timedelta(seconds=30)
        assert claims.claim(session, claim, holder="w", host="h", lease=lease)
        place = {"scale": 1, "step": 1, "kind": "map"}
        sample = blobs.put(f"samples/{job.id}/1-1-map.png", b"a sample").blob
        session.add(JobSample(id="smp", job_id=job.id, **place, blob=sample, created=now()))
        session.add(Worker(id="w", host="h", pid=1, device="cpu", started=now(), last_seen=now()))
        checkpoint(installation, session.get_one(Job, job.id), 1)
    return job


def checkpoint(installation, row, number):
    """What `JobRun.save_checkpoint` does, within the transaction of `row`."""
    before = row.checkpoint
    row.checkpoint = f"checkpoints/{row.id}/1-{number}"
    installation.blobs.put(row.checkpoint, b"state %d" % number)
    if before is not None:
        installation.blobs.delete(before)


@pytest.fixture
def elsewhere(settings, tmp_path):
    return Settings(**settings.model_dump() | {"home": tmp_path / "elsewhere"})


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "mdf.tar"


def contents(installation):
    """All files that its rows name."""
    with installation.database.read() as session:
        named = References.read(session).named
    return {key: installation.blobs.get(key) for key in sorted(named)}


def opened(settings):
    installation = Installation.open(settings)
    with installation.database.read() as session:
        assert session.scalars(select(Worker)).all() == []
    return installation


def test_all_that_is_kept_comes_back_and_jobs_go_on(
    installation, settings, elsewhere, archive, job, model, add_dataset
):
    dataset = add_dataset({"a.png": data.astronaut()[:64, :64], "b.png": data.coffee()[:64, :64]})
    installation.blobs.put("images/orphan.png", b"that nothing names")
    told = []
    made = back_up(settings, archive, on_bytes=lambda *progress: told.append(progress))
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert told[-1][0] == made.size
    assert (made.missing, made.damaged) == ([], [])
    assert sorted(path.name for path in archive.parent.iterdir()) == ["home", "mdf.tar"]

    restored = restore(elsewhere, archive)
    assert restored == made
    assert stat.S_IMODE(elsewhere.home_folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((elsewhere.home_folder / "mdf.sqlite").stat().st_mode) == 0o600
    assert sorted(path.name for path in elsewhere.home_folder.iterdir()) == ["blobs", "mdf.sqlite"]
    copy = opened(elsewhere)
    assert contents(copy) == contents(installation)
    assert not copy.blobs.has("images/orphan.png")
    with copy.database.read() as session:
        row = session.get_one(Job, job.id)
        assert (row.state, row.attempt, row.lease_holder) == ("queued", 0, None)
        assert copy.blobs.get(row.checkpoint) == b"state 1"
        assert len(datasets.pictures(session, copy.blobs, dataset.id)) == 2
    copy.close()


def test_what_changes_meanwhile_is_followed(
    installation, settings, elsewhere, archive, job, seed_image
):
    """Whatever is read of the archive is there, of one state: the last."""
    with installation.database.write() as session:
        pixels = images.from_pixels(data.coffee()[:64, :64], {})
        other, _ = images.add(session, installation.blobs, pixels, name="b", caller=LOCAL)
    rounds = []

    def disturb(done, total):
        if len(rounds) < 3:
            rounds.append(done)
            with installation.database.write() as session:
                checkpoint(installation, session.get_one(Job, job.id), 1 + len(rounds))
            if len(rounds) == 1:
                images.delete(installation.database, installation.blobs, other.id, LOCAL)

    back_up(settings, archive, on_bytes=disturb)
    restore(elsewhere, archive)
    copy = opened(elsewhere)
    with copy.database.read() as session:
        assert copy.blobs.get(session.get_one(Job, job.id).checkpoint) == b"state 4"
        assert session.get(Image, other.id) is None
        assert session.get_one(Image, seed_image.id)
    assert copy.blobs.keys("checkpoints") == [f"checkpoints/{job.id}/1-4"]
    assert contents(copy) == contents(installation)
    copy.close()


def test_browsers_must_log_in_again(installation, settings, elsewhere, archive):
    with installation.database.write() as session:
        key, _ = keys.create(session, name="laptop", owner="local", scopes=["admin"])
        caller = Caller(owner="local", scopes=frozenset({"admin"}), key_id=key.id)
        _, token = browser_sessions.begin(session, caller, lifetime=timedelta(hours=1))
    back_up(settings, archive)
    restore(elsewhere, archive)
    copy = opened(elsewhere)
    assert browser_sessions.recognise(installation.database, token) is not None
    assert browser_sessions.recognise(copy.database, token) is None
    with copy.database.read() as session:
        assert keys.get(session, key.id).revoked is None
    copy.close()


def test_parts_of_a_restoration_come_along(installation, settings, elsewhere, archive, job):
    installation.blobs.put(f"parts/{job.id}/000000", b"a part")
    installation.blobs.put("parts/job_gone/000000", b"of a job that is gone")
    back_up(settings, archive)
    restore(elsewhere, archive)
    copy = opened(elsewhere)
    assert copy.blobs.keys("parts") == [f"parts/{job.id}/000000"]
    copy.close()


def test_damage_that_is_there_already_is_told_and_hinders_nothing(
    installation, settings, elsewhere, archive, seed_image, job
):
    file = installation.blobs.put(f"artifacts/{job.id}/1-a", b"good")
    with installation.database.write() as session:
        shared = {"job_id": job.id, "media_type": "x/y", "created": now(), "sha256": file.sha256}
        kinds = {"a": file.blob, "b": f"artifacts/{job.id}/1-b"}
        for kind, blob in kinds.items():
            session.add(Artifact(id=kind, kind=kind, blob=blob, size=4, **shared))
    installation.blobs.put(file.blob, b"evil")
    made = back_up(settings, archive)
    assert (made.missing, made.damaged) == ([kinds["b"]], [kinds["a"]])
    assert restore(elsewhere, archive).missing == [kinds["b"]]


def test_what_the_disk_cannot_read_is_told_and_all_else_is_kept(
    installation, settings, elsewhere, archive, seed_image, job, lose_sector
):
    with installation.database.read() as session:
        checkpoint = session.get_one(Job, job.id).checkpoint
    lose_sector(installation.blobs.folder / checkpoint)
    made = back_up(settings, archive)
    assert (made.missing, made.damaged) == ([], [checkpoint])
    assert restore(elsewhere, archive) == made
    copy = opened(elsewhere)
    assert copy.blobs.get(checkpoint) == bytes(4096)
    assert images.read(copy.blobs, seed_image) == images.read(installation.blobs, seed_image)
    copy.close()


def test_a_damaged_database_makes_no_backup(installation, settings, archive):
    database = settings.home_folder / "mdf.sqlite"
    index = "SELECT rootpage FROM sqlite_master WHERE name = 'ix_jobs_state_created'"
    with installation.database.write() as session:
        page = session.scalar(text(index))
        size = session.scalar(text("PRAGMA page_size"))
    installation.close()  # what its log holds goes into the file
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    with pytest.raises(BackupError, match=r"home/mdf\.sqlite is damaged \(.+\).*restore-backup"):
        back_up(settings, archive)
    assert not archive.exists()


def test_nothing_is_overwritten(installation, settings, elsewhere, archive):
    archive.write_bytes(b"mine")
    with pytest.raises(ConflictError, match="exists: name a new file"):
        back_up(settings, archive)
    assert archive.read_bytes() == b"mine"
    with pytest.raises(ConflictError, match="is not empty: name a folder in MDF_HOME"):
        restore(settings, archive)
    elsewhere.home_folder.mkdir()
    (elsewhere.home_folder / "note").write_text("mine")
    with pytest.raises(ConflictError, match="is not empty"):
        restore(elsewhere, archive)
    assert [path.name for path in elsewhere.home_folder.iterdir()] == ["note"]


def test_what_a_killed_restore_has_left_is_in_nobodys_way(
    installation, settings, elsewhere, archive
):
    back_up(settings, archive)
    (elsewhere.home_folder / ".restore-0" / "blobs").mkdir(parents=True)
    (elsewhere.home_folder / "blobs" / "images").mkdir(parents=True)
    restore(elsewhere, archive)
    assert sorted(path.name for path in elsewhere.home_folder.iterdir()) == ["blobs", "mdf.sqlite"]


def test_what_a_killed_backup_has_left_goes_with_the_next_of_any_name(
    installation, settings, archive
):
    drafts = set()
    back_up(settings, archive, on_bytes=lambda *_: drafts.update(archive.parent.glob(".*")))
    (draft,) = drafts
    draft.mkdir()
    (draft / "archive").write_bytes(b"half")
    back_up(settings, archive.with_name("next.tar"))
    assert sorted(path.name for path in archive.parent.iterdir()) == ["home", "mdf.tar", "next.tar"]


def test_what_another_process_is_at_work_on_stays(installation, settings, elsewhere, archive):
    draft = archive.with_name(".mdf-backup-abc")
    staging = elsewhere.home_folder / ".restore-0"
    with held(draft), held(staging):
        back_up(settings, archive)
        assert draft.is_dir()
        with pytest.raises(ConflictError, match=r"another restore works in .*\.restore-0"):
            restore(elsewhere, archive)
        clear_home(elsewhere.home_folder)
        assert staging.is_dir()
    clear_home(elsewhere.home_folder)
    assert list(elsewhere.home_folder.iterdir()) == []


def test_of_two_restores_at_once_one_is_refused(
    installation, settings, elsewhere, archive, monkeypatch
):
    back_up(settings, archive)
    home = elsewhere.home_folder

    def lose(*_):
        (home / "blobs" / "images").mkdir(parents=True)

    monkeypatch.setattr("services.backup._make_current", lose)
    with pytest.raises(ConflictError, match="is not empty: name a folder in MDF_HOME"):
        restore(elsewhere, archive)
    assert [path.name for path in home.rglob("*")] == ["blobs", "images"]


@contextmanager
def held(folder):
    """As another process holds the folder that it works in."""
    folder.mkdir(parents=True)
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


@pytest.mark.parametrize(("after", "left"), [("rename", []), ("link", ["blobs", "mdf.sqlite"])])
def test_an_interrupt_while_files_get_their_places_leaves_all_or_nothing(
    installation, settings, elsewhere, archive, seed_image, monkeypatch, after, left
):
    back_up(settings, archive)
    elsewhere.home_folder.mkdir()
    owner = {"rename": Path, "link": os}[after]
    done = getattr(owner, after)

    def interrupted(*paths):
        result = done(*paths)
        if elsewhere.home_folder in map(attrgetter("parent"), paths):
            monkeypatch.undo()
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(owner, after, interrupted)
    with pytest.raises(KeyboardInterrupt):
        restore(elsewhere, archive)
    assert sorted(path.name for path in elsewhere.home_folder.iterdir()) == left


def test_a_database_of_a_newer_version_is_not_backed_up(installation, settings, archive):
    with installation.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'zzz'"))
    with pytest.raises(BackupError, match=r"has version zzz.*with the version of MDF that runs$"):
        back_up(settings, archive)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def without_manifest(content: bytes) -> bytes:
    return content[: content.index(b"manifest.json")]


def flipped(content: bytes) -> bytes:
    place = content.index(b"IDAT") + 100
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def of_a_newer_version(content: bytes) -> bytes:
    return content.replace(b'"database": "0', b'"database": "9')


def with_another_file(content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("blobs/../../evil"), io.BytesIO())
    return packed.getvalue()


def with_a_link(content: bytes) -> bytes:
    packed = io.BytesIO()
    link = tarfile.TarInfo("blobs/images")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(link)
    return packed.getvalue()


def with_a_hole(content: bytes) -> bytes:
    packed = io.BytesIO()
    hole = tarfile.TarInfo("blobs/images/hole")
    hole.pax_headers = {"GNU.sparse.size": str(10**12), "GNU.sparse.map": "0,0"}
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(hole)
    return packed.getvalue()


def with_manifest(manifest: bytes):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("manifest.json")
        member.size = len(manifest)
        tar.addfile(member, io.BytesIO(manifest))
    return lambda _: packed.getvalue()


def manifest(**changes) -> bytes:
    nothing = {
        "created": "2026-11-21T03:00:00+00:00",
        "mdf": "0.1",
        "database": "0003",
        "digests": {},
        "size": 0,
    }
    return json.dumps(nothing | {"missing": [], "damaged": []} | changes).encode()


MADE_BY = r"was made by MDF 0\.1 \(format \?, tables 0003\), which"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut, "is no backup of MDF, or is damaged|ends too soon"),
        (without_manifest, "is no backup of MDF, or is damaged|ends too soon"),
        (flipped, r"is damaged: blobs/images/.* is not what was put into it"),
        (of_a_newer_version, r"was made by MDF .* \(format 1, tables 9.*\), which this version"),
        (with_another_file, r"holds 'blobs/\.\./\.\./evil': it is no backup"),
        (with_a_link, "holds 'blobs/images': it is no backup"),
        (with_a_hole, "holds 'blobs/images/hole': it is no backup"),
        (with_manifest(manifest()), "is damaged: it holds no database"),
        (with_manifest(manifest(digests=[])), MADE_BY),
        (with_manifest(manifest(created="\x1b[2J")), MADE_BY),
        (with_manifest(manifest(missing=3)), MADE_BY),
        (with_manifest(manifest(format=9, mdf="\x1b[2J")), r"by MDF \? \(format 9, "),
        (with_manifest(b"[" * 100_000), "is no backup of MDF, or is damaged"),
        (lambda _: b"something else" * 1000, "is no backup of MDF, or is damaged"),
        (lambda _: b"", "is no backup of MDF|ends too soon"),
    ],
)
def test_what_is_no_whole_backup_is_refused_and_leaves_nothing(
    installation, settings, elsewhere, archive, seed_image, spoil, reason
):
    back_up(settings, archive)
    archive.write_bytes(spoil(archive.read_bytes()))
    with pytest.raises(BackupError, match=reason):
        restore(elsewhere, archive)
    assert not elsewhere.home_folder.exists()
    elsewhere.home_folder.mkdir()
    with pytest.raises(BackupError, match=reason):
        restore(elsewhere, archive)
    assert list(elsewhere.home_folder.iterdir()) == []


def test_other_databases_and_buckets_have_tools_of_their_own(settings, tmp_path, archive):
    for changed, tool in (
        ({"database_url": SecretStr("postgresql+psycopg://u:secret@h/mdf")}, "pg_dump"),
        ({"database_url": SecretStr(f"sqlite:///{tmp_path}/x.sqlite")}, "sqlite3 FILE"),
        ({"blob_url": "s3://bucket/prefix"}, "the cloud's own tools"),
    ):
        other = Settings(**settings.model_dump() | changed)
        for act in (back_up, restore):
            with pytest.raises(BackupError, match=tool) as refusal:
                act(other, archive)
            assert "secret" not in str(refusal.value)


def test_without_an_installation_or_a_folder_there_is_nothing_to_do(
    installation, settings, elsewhere, archive
):
    with pytest.raises(BackupError, match=r"there is no installation in .*elsewhere"):
        back_up(elsewhere, archive)
    with pytest.raises(BackupError, match=r"there is no folder .*nowhere"):
        back_up(settings, archive.parent / "nowhere" / "mdf.tar")


def test_a_disk_without_room_is_told_before_anything_is_written(
    installation, settings, elsewhere, archive, seed_image, monkeypatch
):
    back_up(settings, archive)
    none = type("Usage", (), {"free": 10})
    monkeypatch.setattr("services.backup.shutil.disk_usage", lambda _: none)
    second = archive.with_name("second.tar")
    with pytest.raises(DiskFullError, match="are needed in"):
        back_up(settings, second)
    with pytest.raises(DiskFullError, match="are needed in"):
        restore(elsewhere, archive)
    assert not elsewhere.home_folder.exists()
    assert sorted(path.name for path in archive.parent.iterdir()) == ["home", "mdf.tar"]


def test_the_manifest_says_what_the_archive_holds(installation, settings, archive, seed_image):
    made = back_up(settings, archive)
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        manifest = json.load(tar.extractfile("manifest.json"))
        sizes = [member.size for member in tar.getmembers()[:-1]]
    assert names == [f"blobs/{seed_image.blob}", "mdf.sqlite", "manifest.json"]
    assert manifest["digests"][f"blobs/{seed_image.blob}"] == seed_image.sha256
    assert made.size == sum(sizes)
