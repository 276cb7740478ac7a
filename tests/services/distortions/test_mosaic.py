import pytest
import torch
from torch import Tensor

from services.distortions import BayerMosaic


@pytest.mark.parametrize("pattern", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_each_pixel_measures_the_colour_of_the_pattern(pattern: str) -> None:
    mask = BayerMosaic(pattern=pattern).measured(6, 8)
    assert torch.equal(mask.sum(0), torch.ones(6, 8, dtype=torch.long))
    corner = ["RGB"[mask[:, y, x].long().argmax()] for y in (0, 1) for x in (0, 1)]
    assert "".join(corner) == pattern
    assert mask[1].sum() == 24


@pytest.mark.parametrize("pattern", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_measured_pixels_are_untouched_to_the_bit(
    pattern: str, photograph: Tensor, generator: torch.Generator
) -> None:
    mosaic = BayerMosaic(pattern=pattern)
    restored = mosaic.apply(photograph, generator)
    mask = mosaic.measured(128, 160)
    assert torch.equal(restored[0][mask], photograph[0][mask])
    assert (restored[0][~mask] != photograph[0][~mask]).any()


def test_the_others_are_means_of_their_measured_neighbours(generator: torch.Generator) -> None:
    image = torch.rand(1, 3, 6, 6, dtype=torch.float64)
    restored = BayerMosaic(pattern="RGGB").apply(image, generator)
    red, green = image[0, 0], image[0, 1]
    diagonal = (red[2, 2] + red[2, 4] + red[4, 2] + red[4, 4]) / 4
    assert torch.isclose(restored[0, 0, 3, 3], diagonal)  # red at a blue pixel
    assert torch.isclose(restored[0, 0, 2, 3], (red[2, 2] + red[2, 4]) / 2)  # at a green one
    cross = (green[1, 2] + green[3, 2] + green[2, 1] + green[2, 3]) / 4
    assert torch.isclose(restored[0, 1, 2, 2], cross)  # green at a red pixel
    assert torch.isclose(restored[0, 1, 0, 0], (green[0, 1] + green[1, 0]) / 2)  # at a corner


def test_a_flat_colour_is_restored_exactly(generator: torch.Generator) -> None:
    colour = torch.tensor([0.2, 0.5, 0.9])[None, :, None, None].expand(1, 3, 9, 7)
    assert torch.allclose(BayerMosaic().apply(colour, generator), colour)
