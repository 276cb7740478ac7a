from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from services.phase2.degradation import Area, Degradation, luminance
from services.phase2.recipe import RestorerPlan

Plan = Callable[..., RestorerPlan]
ASTRONAUT = np.ascontiguousarray(data.astronaut()[:100, 150:270])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / 255


@pytest.mark.parametrize("corner", [(0, 0), (7, 21), (16, 32), (53, 69), (69, 89)])
def test_a_patch_of_a_jpeg_is_cut_out_of_the_compressed_image(
    corner: tuple[int, int], plan: Plan
) -> None:
    """Blocks lie where they lie in the image, and colours are interpolated as there."""
    degradation = Degradation.of(plan(task={"kind": "jpeg", "quality": 10}))
    top, left = corner
    degraded, target = degradation.pair(ASTRONAUT, Area(top, left, 31, 31), generator())
    bgr = cv2.cvtColor(ASTRONAUT, cv2.COLOR_RGB2BGR)
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    _, file = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 10, *sampling])
    whole = cv2.imdecode(file, cv2.IMREAD_COLOR_RGB)
    window = np.s_[top : top + 31, left : left + 31]
    assert torch.equal(target, as_tensor(ASTRONAUT[window]))
    assert torch.equal(degraded, as_tensor(whole[window]))


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("corner", [(0, 0), (24, 36), (60, 84)])
def test_a_small_patch_is_cut_out_of_the_small_image(
    factor: int, corner: tuple[int, int], plan: Plan
) -> None:
    task = {"kind": "sisr", "factor": factor}
    degradation = Degradation.of(
        plan({"patch": 24}, task=task, network={"kind": "edsr", "scale": factor, "blocks": 1})
    )
    assert degradation.unit == factor
    top, left = corner
    degraded, target = degradation.pair(ASTRONAUT, Area(top, left, 36, 36), generator())
    height, width = (side // factor * factor for side in ASTRONAUT.shape[:2])
    trimmed = Image.fromarray(np.ascontiguousarray(ASTRONAUT[:height, :width]))
    small = np.asarray(
        trimmed.resize((width // factor, height // factor), Image.Resampling.BICUBIC)
    )
    top, left, side = top // factor, left // factor, 36 // factor
    expected = as_tensor(small[top : top + side, left : left + side])
    assert degraded.shape == (3, side, side)
    # Pillow rounds between rows and columns where we do not: a level at most.
    assert (degraded - expected).abs().max() <= 1.01 / 255
    assert torch.equal((degraded * 255).round(), degraded * 255)
    assert target.shape == (3, 36, 36)


def test_a_network_that_does_not_enlarge_gets_the_small_image_enlarged(plan: Plan) -> None:
    task = {"kind": "sisr", "factor": 2, "interpolation": "nearest"}
    degradation = Degradation.of(plan(task=task, network={"kind": "srcnn"}))
    degraded, target = degradation.pair(ASTRONAUT, Area(10, 20, 30, 30), generator())
    assert degraded.shape == target.shape == (3, 30, 30)
    assert torch.equal(degraded[:, ::2, ::2], degraded[:, 1::2, 1::2])
    assert not torch.equal(degraded, target)


def test_noise_is_added_to_the_patch_itself(plan: Plan) -> None:
    degradation = Degradation.of(plan(task={"kind": "denoising", "sigma": 25}))
    degraded, target = degradation.pair(ASTRONAUT, Area(3, 5, 64, 64), generator())
    assert torch.equal(target, as_tensor(ASTRONAUT[3:67, 5:69]))
    assert float((degraded - target).std()) == pytest.approx(25 / 255, rel=0.03)


def test_a_mosaic_keeps_its_phase_in_the_image(plan: Plan) -> None:
    """A measured pixel is red where row and column of the whole image are even."""
    task = {"kind": "demosaicking", "a": 0, "b": 0}
    degradation = Degradation.of(plan(task=task, network={"kind": "zhao", "width": 4}))
    degraded, target = degradation.pair(ASTRONAUT, Area(7, 20, 31, 31), generator())
    assert torch.equal(degraded[0, 1::2, ::2], target[0, 1::2, ::2])
    assert not torch.equal(degraded[0, ::2, ::2], target[0, ::2, ::2])


def test_a_blur_sees_the_pixels_around_the_patch(plan: Plan) -> None:
    task = {"kind": "custom", "distortions": [{"kind": "gaussian_blur", "sigma": 2}]}
    degradation = Degradation.of(plan(task=task))
    whole, _ = degradation.pair(ASTRONAUT, Area(0, 0, 100, 120), generator())
    part, _ = degradation.pair(ASTRONAUT, Area(33, 41, 20, 20), generator())
    assert torch.allclose(part, whole[:, 33:53, 41:61], atol=1e-6)


@pytest.mark.parametrize(
    "distortions",
    [
        [{"kind": "bayer_mosaic"}, {"kind": "jpeg", "quality": 10}],
        [{"kind": "gaussian_blur", "sigma": 5}, {"kind": "jpeg", "quality": 90}],
        [{"kind": "jpeg", "quality": 10}, {"kind": "jpeg", "quality": 20}],
        [{"kind": "jpeg", "quality": 10}, {"kind": "gaussian_blur", "sigma": 2}],
    ],
    ids=["mosaic and jpeg", "blur and jpeg", "jpeg twice", "jpeg and blur"],
)
def test_a_codecs_blocks_are_those_of_the_image_after_any_other_distortion(
    distortions: list[dict[str, Any]], plan: Plan
) -> None:
    """Whatever the last step sees of the blocks around the patch is right, too."""
    degradation = Degradation.of(plan(task={"kind": "custom", "distortions": distortions}))
    whole, _ = degradation.pair(ASTRONAUT, Area(0, 0, 100, 120), generator())
    for corner in range(33, 60, 3):
        part, _ = degradation.pair(ASTRONAUT, Area(corner, corner, 31, 31), generator())
        expected = whole[:, corner : corner + 31, corner : corner + 31]
        assert torch.allclose(part, expected, atol=1e-6)


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos"])
def test_an_enlarged_patch_is_cut_out_of_the_enlarged_image(kernel: str, plan: Plan) -> None:
    """Shrinking and enlarging see three small pixels each way, one after the other."""
    task = {"kind": "sisr", "factor": 4, "kernel": kernel, "interpolation": kernel}
    degradation = Degradation.of(plan({"patch": 32}, task=task, network={"kind": "srcnn"}))
    whole, _ = degradation.pair(ASTRONAUT, Area(0, 0, 100, 120), generator())
    part, _ = degradation.pair(ASTRONAUT, Area(36, 44, 32, 32), generator())
    assert torch.allclose(part, whole[:, 36:68, 44:76], atol=1e-6)


@pytest.mark.parametrize(
    "task", [{"kind": "jpeg", "quality": 30}, {"kind": "denoising", "sigma": 10}]
)
def test_a_grey_network_gets_one_plane_of_the_luminance(task: dict[str, Any], plan: Plan) -> None:
    network = {"kind": "dncnn", "depth": 3, "width": 4, "channels": 1}
    degradation = Degradation.of(plan(task=task, network=network))
    degraded, target = degradation.pair(ASTRONAUT, Area(0, 0, 32, 48), generator())
    assert degraded.shape == target.shape == (1, 32, 48)
    expected = np.asarray(Image.fromarray(ASTRONAUT[:32, :48]).convert("L"))
    assert np.abs(target[0].numpy() * 255 - expected).max() <= 1
    assert (degraded - target).abs().mean() > 0.001


def test_the_luminance_is_that_of_bt601() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert luminance(colours).tolist() == [[76, 150, 29, 255]]
