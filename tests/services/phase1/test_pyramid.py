import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from services.errors import BadInputError
from services.phase1.pyramid import build_pyramid
from services.phase1.recipe import Recipe


def test_the_finest_level_is_the_seed_in_the_training_range() -> None:
    pixels = data.chelsea()[:100, :120]
    finest = build_pyramid(pixels, Recipe(factor="auto", scales=4))[-1]
    assert finest.shape == (1, 3, 100, 120)
    assert torch.equal(
        ((finest[0] + 1) * 127.5).round().byte().permute(1, 2, 0), torch.tensor(pixels)
    )
    assert finest.min() >= -1
    assert finest.max() <= 1


def test_each_level_is_lanczos_downsampled_from_the_seed() -> None:
    pixels = data.chelsea()[:128, :192]
    levels = build_pyramid(pixels, Recipe(scales=4))
    assert [level.shape[-2:] for level in levels] == [(16, 24), (32, 48), (64, 96), (128, 192)]
    for level in levels[:-1]:
        height, width = level.shape[-2:]
        expected = np.asarray(
            Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
        )
        ours = ((level[0].permute(1, 2, 0) + 1) * 127.5).numpy()
        difference = np.abs(ours - expected)
        # Pillow rounds and clips to 8 bits between the rows and the columns.
        assert difference.max() <= 3
        assert difference.mean() < 0.5


def test_a_seed_too_small_is_refused() -> None:
    with pytest.raises(BadInputError, match="1408 px"):
        build_pyramid(np.zeros((300, 400, 3), np.uint8), Recipe())
