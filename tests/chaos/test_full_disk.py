"""The disk is full: nothing is corrupt, new work is refused, the old goes on once there is room.

Database, files and broker lie on one small disk in memory, which is filled to the last page:
between two writes of a job, or in the middle of one of a job's or of an upload's.
"""

import io
import os
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import httpx
import numpy as np
import PIL.Image
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from services import blobs as stores
from services.database.schema import Image
from services.installation import Installation
from services.settings import Settings
from tests.chaos.small_disk import SmallDisk

PROGRAM = Path(__file__).with_name("filling_worker.py")

SIZE = 48 << 20
FLOOR = 1 << 20
# Longer than the lease: nobody can renew it meanwhile.
FULL_SECONDS = 5.0
JOB = "steps=40 step_seconds=0.05 pad=200000"


@pytest.fixture
def disk(tmp_path: Path, figures) -> Iterator[SmallDisk]:
    """Mounted by root, or else in a user namespace whose files are reached through /proc."""
    point = tmp_path / "disk"
    point.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(point))
    if os.geteuid() == 0 and not subprocess.run(mount, capture_output=True, check=False).returncode:
        yield SmallDisk(point)
        subprocess.run(("umount", "--lazy", str(point)), check=True)
        return
    script = '"$@" && echo mounted && read -r _'
    namespace = ("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *mount)
    try:
        holder = subprocess.Popen(
            namespace, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError:
        not_run(figures, "a small disk needs root, or the program unshare")
    with holder:
        folder = Path(f"/proc/{holder.pid}/root{point}")
        if holder.stdout.readline() != b"mounted\n" or not os.access(folder, os.W_OK):
            holder.kill()
            not_run(figures, "a small disk needs root, or user namespaces")
        yield SmallDisk(folder)
        holder.stdin.close()


def not_run(figures, reason: str) -> NoReturn:
    """Skip, with a row in the table that says so."""
    with figures("9", "disk full", 0):
        pytest.skip(reason)


@pytest.fixture
def database_url() -> None:
    """SQLite, which lies on the small disk."""


@pytest.fixture
def settings(settings: Settings, disk: SmallDisk) -> Settings:
    """Settings of a service that keeps all on the small disk."""
    leases = {"heartbeat_seconds": 0.5, "lease_seconds": 4.0}
    small = {"home": disk.folder / "home", "disk_floor_bytes": FLOOR}
    return Settings(**settings.model_dump() | leases | small)


def picture(number: int) -> bytes:
    """A PNG that differs from those of other numbers."""
    content = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(content, "PNG")
    return content.getvalue()


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code."""
    return answer.status_code, answer.json().get("code", "")


def fill_in_a_checkpoint(disk: SmallDisk, order: Path) -> None:
    """Let the job whose order this is fill the disk when it has written half a checkpoint."""
    order.with_suffix(".draft").write_text(str(disk.folder))
    order.with_suffix(".draft").rename(order)
    end = time.monotonic() + 30
    while order.exists():
        assert time.monotonic() < end, "no checkpoint was written"
        time.sleep(0.01)


@pytest.mark.slow
def test_a_full_disk_stops_nothing_for_good(
    house, api, disk, audit, count, figures, seed_image: Image, tmp_path, monkeypatch
):
    orders = tmp_path / "orders"
    orders.mkdir()
    monkeypatch.setenv("FILL_ORDERS", str(orders))
    spec = {"seed_image_ids": [seed_image.id], "task": {"kind": "sisr"}, "preset": "quick"}
    wanted = {"type": "discriminator_training", "name": JOB, **spec}
    house.worker((str(PROGRAM),))
    api.start()
    jobs: list[str] = []
    refused_writes = refused_announcements = 0
    with (
        figures("9", "disk full", count(short=2, full=20)) as scenario,
        httpx.Client(base_url=api.url, timeout=30) as client,
    ):
        for number in range(scenario.count):
            job_id = house.submit(JOB)
            jobs.append(job_id)
            house.wait(job_id, lambda job: job.checkpoint is not None)
            if number % 2:
                fill_in_a_checkpoint(disk, orders / job_id)
            else:
                disk.fill()
            before = house.job(job_id)
            end = time.monotonic() + FULL_SECONDS
            while time.monotonic() < end:
                began = time.monotonic()
                file = {"file": ("a.png", picture(number))}
                for asked, answer in (
                    ("an upload", client.post("/v1/images", files=file)),
                    ("a job", client.post("/v1/jobs", json=wanted)),
                ):
                    if refusal(answer) != (507, "disk_full"):
                        scenario.violate(f"{asked} was answered {refusal(answer)}")
                priority = (house.job(job_id).priority + 1) % 100
                changed = client.patch(f"/v1/jobs/{job_id}", json={"priority": priority})
                if refusal(changed) == (507, "disk_full"):
                    refused_writes += 1
                elif changed.status_code != 200:  # the database may have room inside its files
                    scenario.violate(f"a change was answered {refusal(changed)}")
                if client.get(f"/v1/jobs/{job_id}").status_code != 200:
                    scenario.violate("a job could not be read")
                if not house.dispatcher.announce(job_id, before.type):  # an append of the broker
                    refused_announcements += 1
                scenario.time("answers", (time.monotonic() - began) / 4, max=5)
                time.sleep(0.2)
            kept = house.job(job_id)
            if (kept.state, kept.token, kept.checkpoint) != (
                "running",
                before.token,
                before.checkpoint,
            ):
                scenario.violate(f"the job was {kept.state} at {kept.checkpoint}")
            disk.free()
            began = time.monotonic()
            house.wait(job_id, lambda job, old=kept: job.checkpoint != old.checkpoint, seconds=60)
            scenario.time("goes on after", time.monotonic() - began, max=15)
            uploaded = client.post("/v1/images", files=file)
            accepted = client.post("/v1/jobs", json=wanted)
            if (uploaded.status_code, accepted.status_code) != (201, 202):
                scenario.violate(f"refused with room: {uploaded.text} {accepted.text}")
            jobs.append(accepted.json()["id"])
            for each in jobs[-2:]:
                if (ended := house.wait_for_end(each, seconds=60)).state != "succeeded":
                    scenario.violate(f"a job ended {ended.state}")
            if house.job(job_id).attempt != before.attempt:
                scenario.violate("waiting cost the job an attempt")
        scenario.figure("refused writes of the database", refused_writes, at_least=1)
        scenario.figure("of the broker", refused_announcements, at_least=1)
        for fault in audit(jobs):
            scenario.violate(fault)
        for draft in disk.folder.rglob(".tmp-*"):
            scenario.violate(f"a draft was left: {draft.name}")


class FillsDisk(io.BytesIO):
    """The content of a file; the disk is full once the first half has been read."""

    def __init__(self, content: bytes, disk: SmallDisk) -> None:
        super().__init__(content)
        self._disk = disk

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() == 0:
            return super().read(len(self.getvalue()) // 2)
        self._disk.fill()
        return super().read(size)


@pytest.mark.slow
def test_an_upload_that_fills_the_disk_in_its_middle_is_refused_whole_and_can_be_sent_again(
    installation: Installation, disk, figures, monkeypatch
):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.png", picture(1))
    replace_file = stores.replace_file

    def fill_and_replace(path: Path, content: bytes, *, draft: str) -> None:
        replace_file(path, FillsDisk(content, disk), draft=draft)

    with (
        figures("9", "disk full in the middle of an upload", 2) as scenario,
        TestClient(
            create_app(installation), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)
        ) as client,
    ):
        wanted = {"name": "a", "source": {"kind": "upload", "size": len(archive.getvalue())}}
        dataset_id = client.post("/v1/datasets", json=wanted).json()["id"]
        content = f"/v1/datasets/{dataset_id}/content"
        binary = {"Content-Type": "application/octet-stream", "Upload-Offset": "0"}

        def send_picture() -> httpx.Response:
            return client.post("/v1/images", files={"file": ("a.png", picture(0))})

        def send_part() -> httpx.Response:
            return client.patch(content, content=archive.getvalue(), headers=binary)

        def kept() -> tuple[int, str]:
            images = client.get("/v1/images").json()["data"]
            return len(images), client.head(content).headers["Upload-Offset"]

        for asked, send, accepted in (("a picture", send_picture, 201), ("a part", send_part, 204)):
            before = kept()
            files = set(installation.blobs.folder.rglob("*"))
            with monkeypatch.context() as patched:
                patched.setattr(stores, "replace_file", fill_and_replace)
                answer = send()
            if refusal(answer) != (507, "disk_full"):
                scenario.violate(f"{asked} was answered {refusal(answer)}")
            if "No space left on device" not in answer.text:
                scenario.violate(f"{asked} was refused before it was written: {answer.text}")
            if kept() != before:
                scenario.violate(f"{asked} is shown, and was refused")
            left = set(installation.blobs.folder.rglob("*")) - files
            for each in left:
                if each.is_file():
                    scenario.violate(f"{asked} has left {each.name}")
            disk.free()
            if (again := send()).status_code != accepted:
                scenario.violate(f"with room {asked} was answered {again.text}")
        if kept() != (1, str(len(archive.getvalue()))):
            scenario.violate(f"with room {kept()} were kept")
