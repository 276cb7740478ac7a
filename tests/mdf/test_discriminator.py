"""The network of one scale."""

import pytest
import torch

from mdf.discriminator import Discriminator, initialise


def test_the_published_network_has_the_parameters_of_the_paper():
    discriminator = Discriminator(width=32)
    weights = 9 * (3 * 32 + 3 * 32 * 32 + 32)
    biases_and_norms = 4 * 32 + 1 + 4 * 2 * 32
    assert sum(p.numel() for p in discriminator.parameters()) == weights + biases_and_norms
    assert discriminator.tail(torch.zeros(1, 32, 3, 3)).shape == (1, 1, 1, 1)


@pytest.mark.parametrize(("padding", "expected"), [("valid", (30, 20)), ("same", (40, 30))])
def test_the_map_has_the_size_that_the_padding_leaves(padding, expected):
    out = Discriminator(width=4, padding=padding)(torch.zeros(2, 3, 40, 30))
    assert out.shape == (2, 1, *expected)


@pytest.mark.parametrize(("layers", "padding", "side"), [(5, "valid", 11), (3, "valid", 7)])
def test_the_smallest_side_leaves_one_pixel(layers, padding, side):
    discriminator = Discriminator(width=4, layers=layers, padding=padding).eval()
    assert discriminator.smallest_side == side
    assert discriminator(torch.zeros(1, 3, side, side)).shape[2:] == (1, 1)
    with pytest.raises(RuntimeError):
        discriminator(torch.zeros(1, 3, side - 1, side))


def test_one_pixel_changes_a_patch_of_eleven_by_eleven():
    generator = torch.Generator().manual_seed(0)
    discriminator = Discriminator(width=8, padding="same").eval()
    initialise(discriminator, generator)
    image = torch.rand(1, 3, 31, 31, generator=generator)
    touched = image.clone()
    touched[..., 15, 15] += 1
    changed = (discriminator(image) != discriminator(touched)).nonzero()[:, 2:]
    assert changed.min(dim=0).values.tolist() == [10, 10]
    assert changed.max(dim=0).values.tolist() == [20, 20]


def test_initial_weights_follow_singan_and_the_generator_alone():
    networks = []
    for _ in range(2):
        torch.rand(7)  # the global generator's state must not matter
        network = Discriminator(width=64)
        initialise(network, torch.Generator().manual_seed(3))
        networks.append(network)
    for one, other in zip(*(n.state_dict().values() for n in networks), strict=True):
        assert torch.equal(one, other)
    weights = networks[0].body[0].conv.weight
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)
    assert weights.mean().item() == pytest.approx(0, abs=5e-4)
    scales = networks[0].body[0].norm.weight
    assert scales.mean().item() == pytest.approx(1, abs=0.01)
    assert scales.std().item() == pytest.approx(0.02, rel=0.3)
    assert not any(p.any() for n, p in networks[0].named_parameters() if n.endswith("bias"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width is 0; it must be at least 1"),
        ({"width": 4, "layers": 2}, "layers is 2; it must be at least 3"),
        ({"width": 4, "padding": "reflect"}, "padding is 'reflect'; it must be"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Discriminator(**arguments)
