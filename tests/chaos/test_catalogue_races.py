"""Races at the catalogue: one picture sent by many, files deleted while read, objects in use."""

import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from random import Random
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import select

from services import keys
from services.database.schema import Image
from services.installation import Installation
from tests.chaos.bad_files import encoded

CLIENTS = 20  # of two owners
ENOUGH = 50  # rounds of a race in which each of its ends comes
SIDE = 1400  # px: noise of 6 MB, more than any buffer on the way holds


@pytest.fixture
def urls(serve: Callable[..., Any], broker: object) -> list[str]:
    """Two API processes of one installation: no lock within a process is enough."""
    limits = {"requests_per_minute": 10**6, "queued_jobs": 10**6, "max_queued_jobs": 10**6}
    return [serve(**limits).url for _ in range(2)]


@pytest.fixture
def client(urls: list[str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=urls[0], timeout=60) as opened:
        yield opened


def noise(chance: Random, side: int) -> bytes:
    """A picture that was never sent before."""
    pixels = np.random.default_rng(chance.getrandbits(64)).integers(0, 256, (side, side, 3))
    return encoded("PNG", pixels.astype(np.uint8), compress_level=0)


def at_once(acts: list[Callable[[], Any]]) -> list[Any]:
    """What they give, all begun together."""
    ready = threading.Barrier(len(acts))

    def act(each: Callable[[], Any]) -> Any:
        ready.wait()
        return each()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(act, acts))


def upload(
    url: str, file: dict[str, tuple[str, bytes]], headers: dict[str, str] | None = None
) -> httpx.Response:
    return httpx.post(f"{url}/v1/images", files=file, headers=headers, timeout=60)


def delete(url: str, after: threading.Event | None = None) -> httpx.Response:
    if after is not None:
        after.wait(10)
    return httpx.delete(url, timeout=60)


def show_key(installation: Installation, owner: str) -> dict[str, str]:
    """Headers that show a new key of that owner."""
    with installation.database.write() as session:
        _, token = keys.create(session, name="test", owner=owner, scopes=["write", "admin"])
    return {"Authorization": f"Bearer {token}"}


def orphans(installation: Installation) -> list[str]:
    """Blobs without a row, and rows without their blob."""
    with installation.database.read() as session:
        named = set(session.scalars(select(Image.blob)))
    return sorted(named ^ set(installation.blobs.keys("images")))


def test_a_picture_that_many_send_at_once_is_kept_once(
    urls, installation, count, chance, figures
) -> None:
    callers = [show_key(installation, owner) for owner in ("anna", "bert")]
    rounds = count(short=2, full=50)
    with figures("13", f"one picture, uploaded by {CLIENTS} at once", rounds) as scenario:
        for _ in range(scenario.count):
            file = {"file": ("same.png", noise(chance, 48))}
            uploads = [
                partial(upload, urls[place % 2], file, callers[place // 2 % 2])
                for place in range(CLIENTS)
            ]
            answers = at_once(uploads)
            for owner in range(2):
                of_owner = [each for place, each in enumerate(answers) if place // 2 % 2 == owner]
                statuses = sorted(answer.status_code for answer in of_owner)
                if statuses != [200] * (CLIENTS // 2 - 1) + [201]:
                    scenario.violate(f"answered {statuses}")
                elif len({answer.json()["id"] for answer in of_owner}) != 1:
                    scenario.violate("one picture has several rows of one owner")
        stored = len(installation.blobs.keys("images"))
        scenario.figure("blobs of a picture", stored / scenario.count, at_most=1)
        for orphan in orphans(installation):
            scenario.violate(f"{orphan} has no row, or its row no blob")


def test_uploads_that_race_deletions_lose_no_blob(
    urls, client, installation, count, chance, figures
) -> None:
    with figures("13", "uploads and deletions of one picture", count(short=3, full=50)) as scenario:
        for _ in range(scenario.count):
            file = {"file": ("same.png", noise(chance, 48))}
            first = client.post("/v1/images", files=file).json()["id"]
            uploads = [partial(upload, url, file) for url in urls * 2]
            deletions = [partial(delete, f"{url}/v1/images/{first}") for url in urls]
            answers = at_once(uploads + deletions)
            allowed = [{200, 201}] * len(uploads) + [{200, 404}] * len(deletions)
            for answer, statuses in zip(answers, allowed, strict=True):
                if answer.status_code not in statuses:
                    scenario.violate(f"{answer.request.method}: {answer.text}")
            for answer in answers[: len(uploads)]:
                image = answer.json()["id"]
                content = client.get(f"/v1/images/{image}/content")
                if image != first and content.status_code != 200:
                    scenario.violate(f"the upload of {image} was answered, and it is not there")
        for orphan in orphans(installation):
            scenario.violate(f"{orphan} has no row, or its row no blob")


def test_a_file_deleted_while_it_is_read_is_whole_or_ends_as_broken(
    urls, client, count, chance, figures
) -> None:
    whole = broken = absent = 0
    with figures("13", "deleted while downloaded", count(short=4, full=50)) as scenario:
        for place in range(scenario.count):
            image = client.post("/v1/images", files={"file": ("a.png", noise(chance, SIDE))}).json()
            path = f"/v1/images/{image['id']}"
            began = threading.Event()

            deletion = partial(delete, f"{urls[1]}{path}", after=began if place % 2 else None)
            reading = partial(read_slowly, f"{urls[0]}{path}/content", began)
            gone, (status, content) = at_once([deletion, reading])
            if gone.status_code != 200:
                scenario.violate(f"the deletion was answered {gone.status_code}")
            if status not in (200, 404):
                scenario.violate(f"the download was answered {status}")
            whole += content is True
            broken += content is None
            absent += status == 404
            if content is False:
                scenario.violate(f"half of {image['id']} was passed off as whole")
        at_least = 1 if scenario.count >= ENOUGH else None
        scenario.figure("whole", whole, at_least=at_least)
        scenario.figure("broken off", broken, at_least=at_least)
        scenario.figure("not there", absent)


def read_slowly(url: str, began: threading.Event) -> tuple[int, bool | None]:
    """Status, and whether the body is what its digest says; None if the connection broke."""
    digest = sha256()
    try:
        with httpx.stream("GET", url, timeout=60) as answer:
            for part in answer.iter_raw(1 << 16):
                digest.update(part)
                if not began.is_set():
                    began.set()
    except httpx.RemoteProtocolError:
        return answer.status_code, None
    finally:
        began.set()
    if answer.status_code != 200:
        return answer.status_code, None
    told = f"sha-256=:{b64encode(digest.digest()).decode()}:"
    return 200, told == answer.headers["repr-digest"]


def test_what_a_job_uses_is_not_deleted_under_it(
    urls, client, add_dataset, add_loss, add_model, count, chance, figures
) -> None:
    with figures("13", "deleted while a job takes it", count(short=3, full=50)) as scenario:
        refused = late = 0
        for _ in range(scenario.count):
            pixels = np.random.default_rng(chance.getrandbits(64)).integers(0, 256, (64, 64, 3))
            dataset = add_dataset({"a.png": pixels.astype(np.uint8)})
            loss, model = add_loss(), add_model()
            image = client.post("/v1/images", files={"file": ("a", noise(chance, 48))}).json()
            training = {
                "type": "restoration_training",
                "preset": "quick-dncnn-denoising",
                "dataset_id": dataset.id,
                "loss": {"kind": "mdf", "loss_id": loss.id},
            }
            restoration = {
                "type": "restoration",
                "model_id": model.id,
                "image_ids": [image["id"]],
            }
            for wanted, used in (
                (training, {"datasets": dataset.id, "losses": loss.id}),
                (restoration, {"models": model.id, "images": image["id"]}),
            ):
                paths = [f"/v1/{kind}/{each}" for kind, each in used.items()]
                submit = partial(httpx.post, f"{urls[0]}/v1/jobs", json=wanted, timeout=60)
                deletions = [partial(delete, f"{urls[1]}{path}") for path in paths]
                job, *deleted = at_once([submit, *deletions])
                statuses = [answer.status_code for answer in deleted]
                there = [client.get(path).status_code == 200 for path in paths]
                said = f"job {job.status_code}, deletions {statuses}, there {there}"
                if there != [status == 409 for status in statuses]:
                    # What no job takes is deleted; what was refused stays.
                    scenario.violate(f"{said}: {job.text}")
                if job.status_code == 202:
                    refused += 1
                    if statuses != [409, 409]:
                        scenario.violate(f"in use and deleted: {said}")
                    client.post(f"/v1/jobs/{job.json()['id']}/cancel").raise_for_status()
                elif job.status_code == 422:
                    late += 1
                else:
                    scenario.violate(f"{said}: {job.text}")
        at_least = 1 if scenario.count >= ENOUGH else None
        scenario.figure("jobs accepted, deletions refused", refused, at_least=at_least)
        scenario.figure("deletions first, jobs refused", late, at_least=at_least)
