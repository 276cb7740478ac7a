"""Quotas of keys, and what owners have, over REST."""

import io
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from api.app import create_app
from services.installation import Installation
from services.settings import Settings

Problem = Callable[..., dict[str, object]]
MakeKey = Callable[..., dict[str, str]]
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A short queue."""
    return settings.model_copy(update={"max_queued_jobs": 5, "queued_jobs": 3})


@pytest.fixture
def client(installation: Installation) -> Iterator[TestClient]:
    """A caller from elsewhere."""
    with TestClient(create_app(installation), base_url="http://mdf.example") as connected:
        yield connected


@pytest.fixture
def anna(make_key: MakeKey) -> dict[str, str]:
    """A key of an administrator."""
    return make_key("admin")


def picture(number: int = 0) -> bytes:
    """Noise, which does not compress."""
    pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def upload(client: TestClient, headers: dict[str, str], number: int = 0) -> httpx.Response:
    return client.post(
        "/v1/images", files={"file": ("noise.png", picture(number))}, headers=headers
    )


def submit(client: TestClient, headers: dict[str, str], image_id: str) -> httpx.Response:
    job = {"seed_image_ids": [image_id], "task": {"kind": "jpeg"}, "preset": "quick"}
    return client.post("/v1/jobs", json=job, headers=headers)


def used(client: TestClient, headers: dict[str, str]) -> int:
    return int(client.get("/v1/usage", headers=headers).json()["stored_bytes"])


def test_what_is_stored_is_counted_for_the_owner_whatever_the_key(
    client: TestClient, anna: dict[str, str], make_key: MakeKey, assert_problem: Problem
) -> None:
    assert upload(client, anna).status_code == 201
    size = used(client, anna)
    tight = make_key("write", stored_bytes=2 * size + 1000)
    second = make_key("write", stored_bytes=2 * size + 1000)
    assert upload(client, tight, 1).status_code == 201
    for key in (tight, second):
        refused = upload(client, key, 2)
        problem = assert_problem(refused, 429, "quota_exceeded")
        assert f"anna has stored {used(client, anna)} bytes" in str(problem["detail"])
        assert "(stored_bytes)" in str(problem["detail"])
        assert refused.headers["Retry-After"] == "60"
    assert upload(client, tight, 1).status_code == 200  # it is there already: nothing is stored
    assert upload(client, make_key("write", owner="bert"), 2).status_code == 201
    (image, *_) = client.get("/v1/images", headers=tight).json()["data"]
    client.delete(f"/v1/images/{image['id']}", headers=tight)
    assert upload(client, second, 2).status_code == 201


def test_a_synthetic_seed_counts_as_well(
    client: TestClient, anna: dict[str, str], make_key: MakeKey, assert_problem: Problem
) -> None:
    wanted = {"kind": "pink-noise", "width": 64, "height": 64}
    refused = client.post(
        "/v1/images/synthesize", json=wanted, headers=make_key("write", stored_bytes=100)
    )
    assert_problem(refused, 429, "quota_exceeded")
    assert client.get("/v1/images", headers=anna).json()["data"] == []


def test_an_archive_is_refused_when_it_is_announced_and_while_it_comes(
    client: TestClient,
    installation: Installation,
    anna: dict[str, str],
    make_key: MakeKey,
    assert_problem: Problem,
) -> None:
    tight = make_key("write", stored_bytes=1000)
    wanted = {"name": "x", "source": {"kind": "upload", "size": 1001}}
    assert_problem(client.post("/v1/datasets", json=wanted, headers=tight), 429, "quota_exceeded")
    wanted["source"] = {"kind": "upload", "size": 600}
    first, second = (
        client.post("/v1/datasets", json=wanted, headers=tight).json()["id"] for _ in range(2)
    )

    def send(dataset_id: str, offset: int, size: int) -> httpx.Response:
        return client.patch(
            f"/v1/datasets/{dataset_id}/content",
            content=b"x" * size,
            headers=tight | OCTETS | {"Upload-Offset": str(offset)},
        )

    assert send(first, 0, 590).status_code == 204
    assert send(second, 0, 300).status_code == 204
    assert_problem(send(second, 300, 200), 429, "quota_exceeded")
    assert used(client, tight) == 890
    kept = [key for key in installation.blobs.keys("uploads") if second in key]
    assert len(kept) == 1
    # What was refused can be sent again once there is room.
    assert client.delete(f"/v1/datasets/{first}", headers=tight).is_success
    assert send(second, 300, 200).status_code == 204


def test_who_has_used_up_the_quota_submits_no_jobs(
    client: TestClient, anna: dict[str, str], make_key: MakeKey, assert_problem: Problem
) -> None:
    image_id = upload(client, anna).json()["id"]
    assert_problem(
        submit(client, make_key("write", stored_bytes=1000), image_id), 429, "quota_exceeded"
    )


def test_an_owner_has_so_many_queued_jobs_and_the_service_so_many_in_all(
    client: TestClient, anna: dict[str, str], make_key: MakeKey, assert_problem: Problem
) -> None:
    image_id = upload(client, anna).json()["id"]
    jobs = [submit(client, anna, image_id) for _ in range(4)]
    assert [answer.status_code for answer in jobs] == [202, 202, 202, 429]
    problem = assert_problem(jobs[-1], 429, "quota_exceeded")
    assert "anna has 3 queued jobs of the 3 allowed (queued_jobs)" in str(problem["detail"])
    generous = make_key("write", queued_jobs=100)
    assert [submit(client, generous, image_id).status_code for _ in range(2)] == [202, 202]
    refused = submit(client, generous, image_id)
    problem = assert_problem(refused, 429, "queue_full")
    assert "5 jobs wait already" in str(problem["detail"])
    assert refused.headers["Retry-After"] == "30"


def test_jobs_that_are_queued_again_count_as_well(
    client: TestClient, anna: dict[str, str], assert_problem: Problem
) -> None:
    image_id = upload(client, anna).json()["id"]
    paused, canceled, *_ = [submit(client, anna, image_id).json()["id"] for _ in range(3)]
    client.post(f"/v1/jobs/{paused}/pause", headers=anna)
    client.post(f"/v1/jobs/{canceled}/cancel", headers=anna)
    for _ in range(2):
        submit(client, anna, image_id)
    for job_id, action in ((paused, "resume"), (paused, "finish"), (canceled, "retry")):
        answer = client.post(f"/v1/jobs/{job_id}/{action}", headers=anna)
        assert_problem(answer, 429, "quota_exceeded")


def test_a_key_is_made_with_quotas_and_given_others(
    client: TestClient, anna: dict[str, str], assert_problem: Problem
) -> None:
    quotas = {"requests_per_minute": 100, "running_jobs": 2}
    made = client.post(
        "/v1/api-keys", json={"name": "k", "scopes": ["write"], "quotas": quotas}, headers=anna
    ).json()
    others = {"stored_bytes": None, "queued_jobs": None}
    assert made["quotas"] == quotas | others
    key = {"Authorization": f"Bearer {made['secret']}"}
    url = f"/v1/api-keys/{made['id']}"
    answer = client.get("/v1/me", headers=key)
    assert answer.headers["RateLimit-Policy"] == '"requests";q=100;w=60'
    assert answer.json()["quotas"] == {
        "requests_per_minute": 100,
        "stored_bytes": None,
        "queued_jobs": 3,
        "running_jobs": 2,
    }
    change = {"name": "renamed", "quotas": {"requests_per_minute": None, "queued_jobs": 0}}
    changed = client.patch(url, json=change, headers=anna).json()
    assert changed["name"] == "renamed"
    assert changed["quotas"] == {"requests_per_minute": None, "queued_jobs": 0} | {
        "running_jobs": 2,
        "stored_bytes": None,
    }
    assert client.get("/v1/me", headers=key).json()["quotas"]["requests_per_minute"] == 6000
    image_id = upload(client, key).json()["id"]
    assert_problem(submit(client, key, image_id), 429, "quota_exceeded")
    for wrong in ({"requests_per_minute": 0}, {"running_jobs": 0}, {"stored_bytes": -1}, {"x": 1}):
        refused = client.patch(url, json={"quotas": wrong}, headers=anna)
        (name,) = wrong
        (error,) = assert_problem(refused, 422, "bad_input")["errors"]  # type: ignore[misc]
        assert error["pointer"] == f"/quotas/{name}"
    assert client.patch(url, json={}, headers=anna).json() == changed


def test_jobs_take_along_how_many_may_run(
    client: TestClient, installation: Installation, anna: dict[str, str], make_key: MakeKey
) -> None:
    from services.database.schema import Job

    image_id = upload(client, anna).json()["id"]
    job_id = submit(client, make_key("write", running_jobs=2), image_id).json()["id"]
    with installation.database.read() as session:
        assert session.get_one(Job, job_id).running_cap == 2


def test_usage_is_told_by_kind_and_of_others_to_admins_only(
    client: TestClient, anna: dict[str, str], make_key: MakeKey, assert_problem: Problem
) -> None:
    bert = make_key("write", owner="bert")
    image_id = upload(client, anna).json()["id"]
    submit(client, anna, image_id)
    upload(client, bert, 1)
    mine = client.get("/v1/usage", headers=anna).json()
    assert mine["owner"] == "anna"
    assert mine["kinds"]["images"]["count"] == 1
    assert mine["kinds"]["images"]["size"] == mine["stored_bytes"] > 64 * 64 * 3
    assert (mine["queued_jobs"], mine["running_jobs"]) == (1, 0)
    every = client.get("/v1/usage/all", headers=anna).json()["data"]
    assert [each["owner"] for each in every] == ["anna", "bert"]
    assert every[0] == mine
    assert client.get("/v1/usage?owner=bert", headers=anna).json() == every[1]
    assert client.get("/v1/usage?owner=bert", headers=bert).json() == every[1]
    assert_problem(client.get("/v1/usage?owner=anna", headers=bert), 403, "forbidden")
    assert_problem(client.get("/v1/usage/all", headers=bert), 403, "forbidden")
    nobody = client.get("/v1/usage?owner=nobody", headers=anna).json()
    assert (nobody["stored_bytes"], nobody["kinds"]["losses"]) == (0, {"count": 0, "size": 0})


def test_without_keys_the_settings_hold_but_for_requests(installation: Installation) -> None:
    local = {"base_url": "http://127.0.0.1:8000", "client": ("127.0.0.1", 50000)}
    with TestClient(create_app(installation), **local) as client:
        me = client.get("/v1/me").json()
        image_id = upload(client, {}).json()["id"]
        statuses = [submit(client, {}, image_id).status_code for _ in range(4)]
    assert me["quotas"]["requests_per_minute"] is None
    assert me["quotas"]["queued_jobs"] == 3
    assert statuses == [202, 202, 202, 429]
