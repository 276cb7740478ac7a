"""Previews over HTTP: parts of an image, and what a task makes of them."""

import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from skimage import data

from services.installation import Installation

PHOTO = np.ascontiguousarray(data.astronaut()[:96, :128])  # as the fixture has uploaded it
PART = {"left": 8, "top": 16, "width": 64, "height": 48}


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_a_part_comes_as_png_that_browsers_keep(client: TestClient, image_id: str) -> None:
    answer = client.get(f"/v1/images/{image_id}/preview", params=PART)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "private, max-age=86400, immutable"
    np.testing.assert_array_equal(pixels(answer.content), PHOTO[16:64, 8:72])


def test_a_thumbnail_has_the_size_asked_for(client: TestClient, image_id: str) -> None:
    params = {"to_width": 32, "to_height": 24}
    answer = client.get(f"/v1/images/{image_id}/preview", params=params)
    assert pixels(answer.content).shape == (24, 32, 3)


def test_a_part_is_distorted(client: TestClient, image_id: str) -> None:
    task = json.dumps({"kind": "jpeg", "quality": [1, 100]})

    def difference(position: float) -> float:
        params = {**PART, "task": task, "position": position}
        answer = client.get(f"/v1/images/{image_id}/distorted", params=params)
        assert answer.status_code == 200, answer.text
        return float(np.abs(pixels(answer.content).astype(int) - PHOTO[16:64, 8:72]).mean())

    assert difference(0) > 15 > 4 > difference(1)


def test_a_damaged_file_is_told_and_mended_by_an_upload(
    client: TestClient, installation: Installation, image_id: str, assert_problem
) -> None:
    (key,) = installation.blobs.keys("images")
    png = installation.blobs.get(key)
    task = {**PART, "task": json.dumps({"kind": "jpeg", "quality": [1, 100]})}
    file = {"file": ("a.png", png)}
    permutation = {"kind": "pyramid-permutation", "image_id": image_id}

    def answers() -> list[httpx.Response]:
        return [
            client.get(f"/v1/images/{image_id}/preview"),
            client.get(f"/v1/images/{image_id}/distorted", params=task),
            client.post(f"/v1/images/{image_id}/measure", files=file),
            client.post("/v1/images/synthesize", json=permutation),
        ]

    installation.blobs.put(key, png[:-100])
    for answer in answers():
        told = assert_problem(answer, 500, "internal")
        assert told["detail"].startswith(f"the file of image {image_id} is damaged: upload it")
    installation.blobs.delete(key)
    for answer in answers():
        told = assert_problem(answer, 404, "not_found")
        assert told["detail"].startswith(f"the file of image {image_id} is missing: upload it")
    again = client.post("/v1/images", files=file)
    assert (again.status_code, again.json()["id"]) == (200, image_id)
    assert [answer.status_code for answer in answers()] == [200, 200, 200, 201]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"task": "{"}, "task: invalid JSON"),
        ({"task": '{"kind": "jpeg", "quality": 0}'}, "quality: must be a whole number from 1 to"),
        ({"task": '{"kind": "denoising", "sigma": NaN}'}, "sigma: must be a number from 0 to 255"),
        ({"position": 1.5}, "position"),
        ({"left": 100}, "is not within the image of 128×96 px"),
        ({"width": 769}, "width"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(
    client: TestClient, image_id: str, assert_problem, changed: dict[str, Any], words: str
) -> None:
    params = {**PART, "task": '{"kind": "sisr"}', **changed}
    answer = client.get(f"/v1/images/{image_id}/distorted", params=params)
    problem = assert_problem(answer, 422, "bad_input")
    assert words in problem["errors"][0]["detail"]
