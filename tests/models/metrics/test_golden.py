"""Every metric on one pair of images, against implementations that share nothing with it.

The numbers were computed once, in float64, on scikit-image's astronaut with Gaussian noise of std
0.1 (NumPy's default_rng(0)), rounded to 8 bits: PSNR and SSIM by scikit-image 0.26.0, L1 and L2
by NumPy, MS-SSIM by pytorch-msssim 1.0.0, IW-SSIM, GMSD, FSIM and FSIMc by piq 0.8.0. The second
column is of the upper left 301×411 pixels: odd sizes, and another factor of FSIM.
"""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.losses import SSIM
from models.metrics import METRICS, Protocol, measure

GOLDENS = {
    "psnr": (20.700078, None),
    "ssim": (0.329736, None),
    "ms_ssim": (0.836748, None),
    "iw_ssim": (0.904626, 0.889144),
    "gmsd": (0.116940, 0.123993),
    "fsim": (0.911409, 0.745010),
    "fsimc": (0.901939, 0.720956),
    "l1": (0.070725, None),
    "l2": (0.008511, None),
}

Pair = tuple[Tensor, Tensor]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_the_value_of_independent_implementations(
    noisy_astronaut: Pair, name: str, dtype: torch.dtype
) -> None:
    restored, target = (each.to(dtype) for each in noisy_astronaut)
    whole, corner = GOLDENS[name]
    assert measure([name], restored, target)[name] == pytest.approx(whole, abs=1e-4)
    if corner is not None:
        crops = restored[..., :301, :411], target[..., :301, :411]
        assert measure([name], *crops)[name] == pytest.approx(corner, abs=1e-4)


def as_arrays(pair: Pair) -> list[NDArray[np.float64]]:
    return [each[0].permute(1, 2, 0).numpy() for each in pair]


def test_psnr_ssim_and_the_luma_are_scikit_images(noisy_astronaut: Pair) -> None:
    color = pytest.importorskip("skimage.color")
    metrics = pytest.importorskip("skimage.metrics")
    restored, target = as_arrays(noisy_astronaut)
    options = {"gaussian_weights": True, "use_sample_covariance": False, "data_range": 1}
    expected = metrics.structural_similarity(target, restored, channel_axis=2, **options)
    assert measure(["ssim"], *noisy_astronaut)["ssim"] == pytest.approx(expected, abs=1e-12)
    expected = metrics.structural_similarity(target, restored, channel_axis=2, sigma=5, **options)
    assert 1 - SSIM(sigma=5)(*noisy_astronaut).item() == pytest.approx(expected, abs=1e-12)
    expected = metrics.peak_signal_noise_ratio(target, restored, data_range=1)
    assert measure(["psnr"], *noisy_astronaut)["psnr"] == pytest.approx(expected, abs=1e-12)
    restored, target = (color.rgb2ycbcr(each)[4:-4, 4:-4, 0] / 255 for each in (restored, target))
    expected = metrics.peak_signal_noise_ratio(target, restored, data_range=1)
    found = measure(["psnr"], *noisy_astronaut, Protocol(colour="y", border=4))
    assert found["psnr"] == pytest.approx(expected, abs=1e-9)


def test_ssim_within_the_border_is_that_of_torchmetrics(noisy_astronaut: Pair) -> None:
    """It pads the images by reflection; where nothing was padded the two are the same."""
    image = pytest.importorskip("torchmetrics.functional.image")
    _, whole = image.structural_similarity_index_measure(
        *noisy_astronaut, data_range=1.0, return_full_image=True
    )
    expected = whole[..., 5:-5, 5:-5].mean().item()
    assert measure(["ssim"], *noisy_astronaut)["ssim"] == pytest.approx(expected, abs=1e-6)
    expected = image.peak_signal_noise_ratio(*noisy_astronaut, data_range=1.0).item()
    assert measure(["psnr"], *noisy_astronaut)["psnr"] == pytest.approx(expected, abs=1e-4)


def test_ssim_and_ms_ssim_are_those_of_pytorch_msssim(noisy_astronaut: Pair) -> None:
    pytorch_msssim = pytest.importorskip("pytorch_msssim")
    found = measure(["ssim", "ms_ssim"], *noisy_astronaut)
    expected = pytorch_msssim.ssim(*noisy_astronaut, data_range=1.0).item()
    assert found["ssim"] == pytest.approx(expected, abs=1e-5)
    expected = pytorch_msssim.ms_ssim(*noisy_astronaut, data_range=1.0).item()
    assert found["ms_ssim"] == pytest.approx(expected, abs=1e-5)
