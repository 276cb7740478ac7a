"""Measuring a restored image against one that is stored."""

import io

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from skimage import data

PHOTO = np.ascontiguousarray(data.astronaut()[:96, :128])  # as the fixture has uploaded it


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def test_a_file_is_measured_against_an_image(client: TestClient, image_id: str) -> None:
    off_by_ten = np.where(PHOTO < 128, PHOTO + 10, PHOTO - 10).astype(np.uint8)
    answer = client.post(f"/v1/images/{image_id}/measure", files={"file": ("a", png(off_by_ten))})
    assert answer.status_code == 200, answer.text
    metrics = {each["name"]: each for each in answer.json()["metrics"]}
    assert list(metrics) == ["psnr", "ssim", "gmsd", "fsimc"]  # MS-SSIM takes 176 px and more
    assert metrics["psnr"]["value"] == pytest.approx(20 * np.log10(25.5), abs=1e-3)
    assert metrics["psnr"]["unit"] == "dB"
    assert not metrics["gmsd"]["higher_is_better"]
    assert len(client.get("/v1/images").json()["data"]) == 1  # the file is not kept


def test_an_image_that_is_too_large_is_told_so_before_the_file_is_decoded(
    client: TestClient, assert_problem
) -> None:
    large = png(np.zeros((2000, 2001, 3), np.uint8))
    image_id = client.post("/v1/images", files={"file": ("large.png", large)}).json()["id"]
    answer = client.post(f"/v1/images/{image_id}/measure", files={"file": ("a", b"no image")})
    problem = assert_problem(answer, 422, "bad_input")
    assert "4.0 megapixels; the server measures up to 4" in problem["detail"]


def test_images_of_two_sizes_are_refused(client: TestClient, image_id: str, assert_problem) -> None:
    file = {"file": ("half.png", png(PHOTO[:48, :64]))}
    answer = client.post(f"/v1/images/{image_id}/measure", files=file)
    assert_problem(answer, 422, "bad_input")
    assert "64×48 px and its reference 128×96" in answer.json()["detail"]
