import pytest
import torch

from mdf.discriminator import initialise
from models.generator import Generator


@pytest.mark.parametrize("layers", [3, 5, 7])
def test_the_output_has_the_size_of_the_input(layers: int) -> None:
    x = torch.rand(2, 3, 9, 14)
    assert Generator(width=4, layers=layers)(x).shape == x.shape


def test_without_a_last_layer_it_is_the_identity() -> None:
    generator = Generator(width=4)
    torch.nn.init.zeros_(generator.tail.weight)
    torch.nn.init.zeros_(generator.tail.bias)
    x = torch.rand(1, 3, 12, 12)
    assert torch.equal(generator(x), x)


def test_it_changes_a_pixel_by_one_at_most() -> None:
    generator = Generator(width=4)
    torch.nn.init.constant_(generator.tail.bias, 50.0)
    x = torch.rand(1, 3, 12, 12)
    assert torch.allclose(generator(x), x + 1)


def test_its_receptive_field_is_eleven_pixels() -> None:
    generator = Generator(width=4).eval()
    initialise(generator, torch.Generator().manual_seed(0))
    x = torch.rand(1, 3, 31, 31, requires_grad=True)
    generator(x)[0, :, 15, 15].sum().backward()
    assert x.grad is not None
    seen = x.grad[0].abs().sum(0).nonzero()
    assert seen.min(0).values.tolist() == [10, 10]
    assert seen.max(0).values.tolist() == [20, 20]


def test_it_has_the_papers_number_of_weights() -> None:
    """Five 3×3 convolutions, 3 → 32 → 32 → 32 → 32 → 3, and four BatchNorms."""
    convolutions = 9 * (3 * 32 + 3 * 32 * 32 + 32 * 3) + 4 * 32 + 3
    total = sum(p.numel() for p in Generator(width=32).parameters())
    assert total == convolutions + 4 * 2 * 32
