"""The client against the real service."""

import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

import mdf
from mdf.client import Client, Event, Job
from mdf.errors import ApiError, MDFError


@pytest.fixture(scope="module")
def client(service: Any) -> Client:
    return Client(service.url)


def test_a_trained_loss_is_downloaded_whole_and_works(
    client: Client, trained: Job, tmp_path: Path
) -> None:
    assert trained.succeeded
    assert trained.loss_id is not None
    assert trained.progress is not None
    assert trained.progress.fraction == 1
    record = client.losses.get(trained.loss_id)
    assert record.name == "cat-jpeg"
    assert {file.format for file in record.files} == {"safetensors", "pth", "pt2"}
    for file in record.files:
        path = client.losses.download(record.id, tmp_path / file.format, format=file.format)
        assert sha256(path.read_bytes()).hexdigest() == file.sha256
    loss = mdf.load_loss(tmp_path / "safetensors")
    images = torch.rand(2, 1, 3, 32, 32)
    assert float(loss(images[0], images[0])) == 0
    assert float(loss(images[0], images[1])) > 0


def test_what_a_job_left_behind_is_there(client: Client, trained: Job, tmp_path: Path) -> None:
    sheet = client.jobs.download_artifact(trained.id, "contact_sheet", tmp_path / "sheet.png")
    assert sheet.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(MDFError, match=r"no artifact 'film'; it has: contact_sheet"):
        client.jobs.download_artifact(trained.id, "film", tmp_path / "film")
    samples = client.jobs.samples(trained.id)
    assert {sample.kind for sample in samples} >= {"seed", "generated"}
    assert client.jobs.sample_png(trained.id, samples[0].id).startswith(b"\x89PNG")
    points = client.jobs.metrics(trained.id, scale=1, keys=["reconstruction"])
    assert points
    assert set(points[0].values) == {"reconstruction"}
    assert len(client.jobs.metrics(trained.id, max_points=3)) <= 3


def test_the_events_of_a_job_that_has_ended_are_followed_to_their_end(
    client: Client, trained: Job
) -> None:
    followed = list(client.jobs.follow(trained.id))
    assert [event.seq for event in followed] == list(range(1, len(followed) + 1))
    assert followed[-1].state == "succeeded"
    assert list(client.jobs.events(trained.id, limit=500)) == followed[:500]
    assert list(client.jobs.follow(trained.id, after=followed[-1].seq)) == []


def test_no_event_is_missed_when_the_api_is_killed(
    client: Client, service: Any, seed_file: Path, tiny: dict[str, int]
) -> None:
    job = client.train(seed_file, "sisr", preset="quick", recipe=tiny | {"iterations": 100_000})
    events: list[Event] = []
    lost: list[MDFError] = []
    running = threading.Event()

    def follow() -> None:
        for event in client.jobs.follow(job.id, on_lost=lost.append):
            events.append(event)
            if event.kind == "progress":
                running.set()

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        assert running.wait(60)
        service.api_process().kill()
        running.clear()
        assert running.wait(60)  # events come again
    finally:
        client.jobs.cancel(job.id)
    follower.join(60)
    assert lost
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].state == "canceled"


def test_lists_come_in_pages(client: Client, trained: Job) -> None:
    assert client.jobs.list(limit=1)[0].id
    assert trained.id in [job.id for job in client.jobs.iterate()]
    assert trained.loss_id in [loss.id for loss in client.losses.iterate()]
    for number in range(3):
        client.images.synthesize("pink-noise", width=32 + number, height=32)
    first = client.images.list(limit=2)
    assert len(first) == 2
    assert first.next_cursor is not None
    ids = [image.id for image in client.images.iterate()]
    assert ids[:2] == [image.id for image in first]
    assert len(ids) == len(set(ids)) >= 4


def test_an_image_goes_up_and_comes_down(client: Client, seed_file: Path, tmp_path: Path) -> None:
    from_path = client.images.upload(seed_file)
    from_bytes = client.images.upload(seed_file.read_bytes(), name="again.png")
    assert from_path == from_bytes
    assert (from_path.width, from_path.height) == (160, 128)
    assert client.images.get(from_path.id) == from_path
    path = client.images.download(from_path.id, tmp_path / "cat.png")
    assert client.images.upload(path).id == from_path.id


def test_losses_are_compared_imported_and_deleted(
    client: Client, trained: Job, seed_file: Path, tmp_path: Path
) -> None:
    image = client.images.upload(seed_file)
    noise = client.images.synthesize("pink-noise", width=image.width, height=image.height)
    comparison = client.losses.compare(
        str(trained.loss_id), noise.id, image.id, maps=True, gradient=True
    )
    assert comparison.value == pytest.approx(sum(t.value for t in comparison.terms), rel=1e-4)
    assert len(comparison.maps) == len(comparison.terms)
    assert comparison.gradient is not None
    assert comparison.gradient.peak > 0
    file = client.losses.download(str(trained.loss_id), tmp_path / "mine.safetensors")
    imported = client.losses.import_file(file, name="copy")
    assert imported.name == "copy"
    assert imported.sha256 == sha256(file.read_bytes()).hexdigest()
    assert client.losses.rename(imported.id, "faces").name == "faces"
    assert client.losses.card(imported.id).startswith("# faces")
    client.losses.delete(imported.id)
    with pytest.raises(ApiError, match=imported.id) as refusal:
        client.losses.get(imported.id)
    assert refusal.value.code == "not_found"
    with pytest.raises(MDFError, match="no file in the format 'onnx'; it has: "):
        client.losses.download(str(trained.loss_id), tmp_path / "x", format="onnx")


def test_a_job_is_paused_resumed_renamed_canceled_retried_and_deleted(
    client: Client, seed_file: Path, tiny: dict[str, int]
) -> None:
    recipe = tiny | {"iterations": 100_000}
    job = client.train(seed_file, {"kind": "denoising", "sigma": [0, 55]}, recipe=recipe)
    assert job.spec["task"]["kind"] == "denoising"
    assert client.jobs.pause(job.id).state in {"pausing", "paused"}
    assert client.jobs.update(job.id, name="mine", priority=3).name == "mine"
    for event in client.jobs.follow(job.id):
        if event.state == "paused":
            break
    assert client.jobs.resume(job.id).state == "queued"
    client.jobs.cancel(job.id)
    assert client.jobs.wait(job.id, timeout=60).state == "canceled"
    assert client.jobs.retry(job.id).state == "queued"
    client.jobs.cancel(job.id)
    client.jobs.wait(job.id, timeout=60)
    client.jobs.delete(job.id)
    with pytest.raises(ApiError) as refusal:
        client.jobs.get(job.id)
    assert refusal.value.status == 404


def test_the_service_says_who_calls_and_who_works(client: Client) -> None:
    assert client.me().owner == "local"
    workers = client.workers()
    assert all(isinstance(worker.resources["gpus"], list) for worker in workers)
    devices = [worker.device.split(":")[0] for worker in workers]
    assert devices in (["cpu", "cpu"], ["cuda", "cuda"])  # the slot, and the light one


def test_a_training_is_estimated_before_it_is_submitted(client: Client, seed_file: Path) -> None:
    before = client.jobs.list(limit=1).data
    wanted = client.loss_training(seed_file, preset="quick")
    told = client.jobs.estimate(wanted)
    assert told.seconds_low is not None
    assert told.seconds_high is not None
    assert 0 < told.seconds_low < told.seconds_high
    assert told.memory == "host"
    assert told.basis
    assert client.jobs.list(limit=1).data == before
