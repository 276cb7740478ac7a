import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from services.distortions import Rescale
from services.images.resampling import KERNELS, Kernel


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_flat_image_stays_flat(kernel: Kernel, generator: torch.Generator) -> None:
    flat = torch.full((1, 3, 40, 30), 0.3)
    restored = Rescale(factor=3, kernel=kernel).apply(flat, generator)
    assert torch.allclose(restored, flat, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_factor_of_one_changes_nothing(
    kernel: Kernel, photograph: Tensor, generator: torch.Generator
) -> None:
    restored = Rescale(factor=1, kernel=kernel).apply(photograph, generator)
    assert torch.equal(restored, photograph)


def test_area_by_two_averages_blocks(photograph: Tensor, generator: torch.Generator) -> None:
    restored = Rescale(factor=2, kernel="area").apply(photograph, generator)
    means = torch.nn.functional.avg_pool2d(photograph, 2)
    assert torch.allclose(restored[..., ::2, ::2], means, atol=1e-6)
    assert torch.allclose(restored[..., 1::2, 1::2], means, atol=1e-6)


def test_bicubic_is_pillows(photograph: Tensor, generator: torch.Generator) -> None:
    restored = Rescale(factor=4, kernel="bicubic").apply(photograph, generator)
    red = Image.fromarray(photograph[0, 0].numpy())
    small = red.resize((40, 32), Image.Resampling.BICUBIC)
    expected = torch.from_numpy(np.array(small.resize((160, 128), Image.Resampling.BICUBIC)))
    assert torch.allclose(restored[0, 0], expected)


def test_a_larger_factor_loses_more(photograph: Tensor, generator: torch.Generator) -> None:
    errors = [
        (Rescale(factor=factor).apply(photograph, generator) - photograph).square().mean()
        for factor in (1.5, 2, 4, 8)
    ]
    assert errors == sorted(errors)


def test_a_tiny_image_survives_a_large_factor(generator: torch.Generator) -> None:
    assert Rescale(factor=16).apply(torch.rand(1, 3, 5, 9), generator).shape == (1, 3, 5, 9)
