"""Idempotency keys over HTTP: one effect, one answer, whatever is sent again."""

import asyncio
import io
import json
import threading

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from skimage import data

from services.images import decoding
from services.installation import Installation
from services.jobs import submission
from tests.waiting import PATIENCE_SECONDS

PHOTO = np.ascontiguousarray(data.astronaut()[:96, :128])


def png(pixels: np.ndarray = PHOTO) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def body(image_id: str) -> dict[str, object]:
    return {"seed_image_ids": [image_id], "task": {"kind": "jpeg"}, "preset": "quick"}


KEY = {"Idempotency-Key": "2b7e151628aed2a6"}


def test_a_job_sent_twice_is_one_job(client: TestClient, image_id: str) -> None:
    first = client.post("/v1/jobs", json=body(image_id), headers=KEY)
    again = client.post("/v1/jobs", json=body(image_id), headers=KEY)
    reordered = client.post(
        "/v1/jobs",
        content=json.dumps(dict(reversed(body(image_id).items())), indent=2),
        headers=KEY | {"Content-Type": "application/json"},
    )
    assert first.status_code == again.status_code == reordered.status_code == 202
    assert again.json() == reordered.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert len(client.get("/v1/jobs").json()["data"]) == 1
    without = client.post("/v1/jobs", json=body(image_id))
    assert without.json()["id"] != first.json()["id"]


def test_the_first_answer_stands_although_the_job_went_on(
    client: TestClient, image_id: str
) -> None:
    first = client.post("/v1/jobs", json=body(image_id), headers=KEY).json()
    client.post(f"/v1/jobs/{first['id']}/cancel")
    assert client.post("/v1/jobs", json=body(image_id), headers=KEY).json()["state"] == "queued"


def test_a_form_is_the_same_with_another_boundary(client: TestClient) -> None:
    first = client.post("/v1/images", files={"file": ("a.png", png())}, headers=KEY)
    again = client.post("/v1/images", files={"file": ("a.png", png())}, headers=KEY)
    assert first.request.headers["content-type"] != again.request.headers["content-type"]
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()


def test_another_request_under_the_key_is_refused(
    client: TestClient, image_id: str, assert_problem
) -> None:
    client.post("/v1/jobs", json=body(image_id), headers=KEY)
    other_body = client.post("/v1/jobs", json=body(image_id) | {"name": "x"}, headers=KEY)
    other_path = client.post("/v1/images", files={"file": ("a.png", png())}, headers=KEY)
    for answer in (other_body, other_path):
        assert_problem(answer, 422, "idempotency_key_reused")


def test_a_refusal_is_not_kept(client: TestClient, image_id: str, assert_problem) -> None:
    wrong = client.post("/v1/jobs", json=body("img_0"), headers=KEY)
    assert_problem(wrong, 422, "bad_input")
    assert client.post("/v1/jobs", json=body(image_id), headers=KEY).status_code == 202


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é"])
def test_a_key_is_short_and_plain(
    client: TestClient, image_id: str, assert_problem, key: str
) -> None:
    headers = {"Idempotency-Key": key.encode()}
    problem = assert_problem(
        client.post("/v1/jobs", json=body(image_id), headers=headers), 422, "bad_input"
    )
    assert "idempotency-key" in problem["detail"]


def test_a_request_has_one_key(client: TestClient, image_id: str, assert_problem) -> None:
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    problem = assert_problem(
        client.post("/v1/jobs", json=body(image_id), headers=headers), 400, "bad_request"
    )
    assert "one Idempotency-Key" in problem["detail"]
    assert client.get("/v1/jobs").json()["data"] == []


def test_an_effect_that_fails_is_done_when_it_is_sent_again(
    client: TestClient, image_id: str, assert_problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = submission.submit

    def submit_and_fail(*args: object, **kwargs: object) -> None:
        submit(*args, **kwargs)  # type: ignore[arg-type]  # as it came
        raise ZeroDivisionError

    monkeypatch.setattr(submission, "submit", submit_and_fail)
    assert_problem(client.post("/v1/jobs", json=body(image_id), headers=KEY), 500, "internal")
    assert client.get("/v1/jobs").json()["data"] == []
    monkeypatch.undo()
    assert client.post("/v1/jobs", json=body(image_id), headers=KEY).status_code == 202
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_a_request_that_is_still_being_worked_on_is_not_begun_again(
    live, assert_problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api.routers import images

    begun, go_on = threading.Event(), threading.Event()

    def slowly(
        content: bytes, limits: decoding.Limits, *, keep_alpha: bool
    ) -> decoding.DecodedImage:
        begun.set()
        assert go_on.wait(PATIENCE_SECONDS)
        return decoding.decode(content, limits, keep_alpha=keep_alpha)

    monkeypatch.setattr(images, "decode", slowly)

    def upload() -> httpx.Response:
        return httpx.post(
            f"{live.url}/v1/images", files={"file": ("a.png", png())}, headers=KEY, timeout=60
        )

    answers: list[httpx.Response] = []
    first = threading.Thread(target=lambda: answers.append(upload()))
    first.start()
    assert begun.wait(PATIENCE_SECONDS)
    second = upload()
    assert_problem(second, 409, "idempotency_key_in_flight")
    assert second.headers["retry-after"] == "1"
    go_on.set()
    first.join()
    assert answers[0].status_code == 201
    third = upload()
    assert third.headers["idempotency-replayed"] == "true"
    assert third.json() == answers[0].json()


def test_many_at_once_are_done_once(live, installation: Installation) -> None:
    async def send() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=live.url, timeout=60) as http:
            uploaded = await http.post("/v1/images", files={"file": ("a.png", png())})
            return await asyncio.gather(
                *(
                    http.post(
                        "/v1/jobs",
                        json=body(uploaded.json()["id"]),
                        headers={"Idempotency-Key": f"key-{place % 4}"},
                    )
                    for place in range(40)
                )
            )

    answers = asyncio.run(send())
    assert {answer.status_code for answer in answers} <= {202, 409}
    accepted = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    jobs = httpx.get(f"{live.url}/v1/jobs").json()["data"]
    assert {job["id"] for job in jobs} == accepted
    assert len(jobs) == 4
