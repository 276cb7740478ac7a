import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from services.distortions import Jpeg, WebP


def by_pillow(image: Tensor, codec: str, **options: int) -> np.ndarray:
    """Pillow's own encoding and decoding, an independent path to the same libraries."""
    pixels = (image[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, codec, **options)
    return np.asarray(Image.open(buffer).convert("RGB")).astype(int)


def pixels(image: Tensor) -> np.ndarray:
    return (image[0].permute(1, 2, 0) * 255).round().numpy().astype(int)


@pytest.mark.parametrize("quality", [1, 10, 50, 90, 100])
def test_jpeg_is_the_real_codec(
    quality: int, photograph: Tensor, generator: torch.Generator
) -> None:
    ours = pixels(Jpeg(quality=quality).apply(photograph, generator))
    theirs = by_pillow(photograph, "JPEG", quality=quality, subsampling=2)
    # Two builds of libjpeg may round a colour conversion differently.
    assert np.abs(ours - theirs).max() <= 3
    assert np.abs(ours - theirs).mean() < 0.05


@pytest.mark.parametrize("quality", [1, 50, 100])
def test_webp_is_the_real_codec(
    quality: int, photograph: Tensor, generator: torch.Generator
) -> None:
    ours = pixels(WebP(quality=quality).apply(photograph, generator))
    theirs = by_pillow(photograph, "WEBP", quality=quality)
    error = np.abs(theirs - pixels(photograph)).mean()
    assert np.abs(ours - theirs).mean() < max(0.5, 0.25 * error)


def test_a_range_of_qualities_uses_each_of_them(
    photograph: Tensor, generator: torch.Generator
) -> None:
    small = photograph[..., :32, :32]
    fixed = {q: Jpeg(quality=q).apply(small, generator) for q in (7, 8, 9, 10)}
    seen = set()
    for _ in range(60):
        drawn = Jpeg(quality=[7, 10]).apply(small, generator)
        seen.add(next(q for q, image in fixed.items() if torch.equal(image, drawn)))
    assert seen == {7, 8, 9, 10}


def test_values_outside_the_unit_range_are_clipped(generator: torch.Generator) -> None:
    bright = torch.full((1, 3, 16, 16), 1.7)
    assert torch.equal(Jpeg(quality=90).apply(bright, generator), torch.ones(1, 3, 16, 16))
    assert torch.equal(Jpeg(quality=90).apply(-bright, generator), torch.zeros(1, 3, 16, 16))


def test_a_lower_quality_is_a_larger_error(photograph: Tensor, generator: torch.Generator) -> None:
    errors = [
        (Jpeg(quality=q).apply(photograph, generator) - photograph).square().mean()
        for q in (90, 30, 10, 5)
    ]
    assert errors == sorted(errors)
