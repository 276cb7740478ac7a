import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from services.distortions import GaussianBlur, MotionBlur
from services.distortions.blur import gaussian_kernel, motion_kernel


@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.0, 5.0])
def test_the_gaussian_kernel_sums_to_one_and_has_its_variance(sigma: float) -> None:
    kernel = gaussian_kernel(torch.tensor(sigma, dtype=torch.float64), radius=25)
    offsets = torch.arange(-25, 26)
    assert kernel.sum().item() == pytest.approx(1)
    if sigma >= 1:
        assert (kernel * offsets**2).sum().item() == pytest.approx(sigma**2, rel=1e-3)


def test_gaussian_blur_agrees_with_scipy(photograph: Tensor, generator: torch.Generator) -> None:
    ours = GaussianBlur(sigma=2).apply(photograph.double(), generator)
    theirs = ndimage.gaussian_filter(
        photograph[0].double().numpy(), (0, 2, 2), mode="nearest", truncate=3
    )
    assert np.abs(ours[0].numpy() - theirs).max() < 1e-6


def test_no_blur_leaves_the_image_as_it_is(photograph: Tensor, generator: torch.Generator) -> None:
    assert torch.allclose(GaussianBlur(sigma=0).apply(photograph, generator), photograph)
    assert torch.allclose(MotionBlur(length=1).apply(photograph, generator), photograph)


@pytest.mark.parametrize("angle", [0.0, 30.0, 45.0, 90.0, 137.0, 360.0])
@pytest.mark.parametrize("length", [1.0, 2.5, 9.0])
def test_the_motion_kernel_sums_to_one_around_its_centre(length: float, angle: float) -> None:
    kernel = motion_kernel(torch.tensor(length), torch.tensor(angle), radius=5)
    offsets = torch.arange(-5, 6)
    assert kernel.sum().item() == pytest.approx(1, abs=1e-5)
    assert (kernel.sum(0) * offsets).sum().item() == pytest.approx(0, abs=1e-4)
    assert (kernel.sum(1) * offsets).sum().item() == pytest.approx(0, abs=1e-4)


def test_motion_goes_in_the_direction_asked_for() -> None:
    def spread(angle: float) -> tuple[float, float, float]:
        kernel = motion_kernel(torch.tensor(9.0), torch.tensor(angle), radius=5).double()
        y, x = torch.meshgrid(torch.arange(5.0, -6, -1), torch.arange(-5.0, 6), indexing="ij")
        return tuple(float((kernel * product).sum()) for product in (x * x, y * y, x * y))

    xx, yy, _ = spread(0)
    assert yy < 1e-6
    assert xx == pytest.approx((9**2 - 1) / 12, rel=1e-4)
    xx, yy, _ = spread(90)
    assert xx < 1e-6
    assert yy == pytest.approx((9**2 - 1) / 12, rel=1e-4)
    assert spread(45)[2] > 1  # up to the right
    assert spread(135)[2] < -1


def test_blur_keeps_a_flat_image_flat_up_to_its_borders(generator: torch.Generator) -> None:
    flat = torch.full((1, 3, 20, 20), 0.7)
    for blur in (GaussianBlur(sigma=3), MotionBlur(length=15, angle=30)):
        assert torch.allclose(blur.apply(flat, generator), flat, atol=1e-6)
