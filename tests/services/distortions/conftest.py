import pytest
import torch
from skimage import data
from torch import Tensor


@pytest.fixture
def photograph() -> Tensor:
    """(1, 3, 128, 160) in [0, 1]."""
    pixels = torch.from_numpy(data.astronaut()[:128, 150:310].copy())
    return pixels.permute(2, 0, 1)[None].float() / 255


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)
