"""The networks: what they declare is true of what they compute."""

import pytest
import torch
from torch import nn

from models.restorers import RESTORERS, Restorer, VGGDiscriminator, create, initialise
from models.restorers.layers import enlarged

SMALL = [
    {"kind": "edsr", "scale": 2, "blocks": 2, "width": 8},
    {"kind": "edsr", "scale": 3, "blocks": 1, "width": 8, "residual_scale": 0.1},
    {"kind": "edsr", "scale": 4, "blocks": 1, "width": 8, "value_range": 1},
    {"kind": "srresnet", "scale": 2, "blocks": 1, "width": 8},
    {"kind": "srresnet", "scale": 3, "blocks": 1, "width": 8},
    {"kind": "srresnet", "scale": 4, "blocks": 2, "width": 8},
    {"kind": "msrresnet", "scale": 2, "blocks": 1, "width": 8},
    {"kind": "msrresnet", "scale": 3, "blocks": 2, "width": 8, "channels": 1},
    {"kind": "msrresnet", "scale": 4, "blocks": 1, "width": 8},
    {"kind": "dncnn", "depth": 5, "width": 8},
    {"kind": "dncnn", "depth": 3, "width": 8, "channels": 1, "batch_norm": False},
    {"kind": "rrdbnet", "scale": 4, "blocks": 1, "width": 8, "growth": 4},
    {"kind": "rrdbnet", "scale": 2, "blocks": 1, "width": 8, "growth": 4},
    {"kind": "rrdbnet", "scale": 1, "blocks": 1, "width": 8, "growth": 4, "channels": 1},
    {"kind": "zhao", "width": 8},
    {"kind": "srcnn", "widths": [8, 4]},
    {"kind": "srcnn", "widths": [8, 4], "middle_kernel": 5, "channels": 1},
]


def build(hyperparameters: dict, seed: int = 0) -> Restorer:
    network = create(**hyperparameters)
    initialise(network, torch.Generator().manual_seed(seed))
    return network.eval()


def name(hyperparameters: dict) -> str:
    return "-".join(map(str, hyperparameters.values()))


def open_relus(network: Restorer) -> Restorer:
    """With positive weights alone, so that no activation hides what a pixel depends on."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.fill_(1 / layer.weight[0].numel())
                if layer.bias is not None:
                    layer.bias.fill_(1e-3)
    return network


@pytest.mark.parametrize("hyperparameters", SMALL, ids=name)
def test_a_result_has_the_size_and_channels_that_the_network_declares(hyperparameters):
    network = build(hyperparameters)
    height, width = 3 * network.multiple, 5 * network.multiple
    result = network(torch.rand(2, network.channels, height, width))
    scale = network.scale
    assert result.shape == (2, network.channels, height * scale, width * scale)


@pytest.mark.parametrize("hyperparameters", SMALL, ids=name)
def test_the_hyperparameters_build_the_same_network_again(hyperparameters):
    network = build(hyperparameters)
    again = create(network.kind, **network.hyperparameters)
    again.load_state_dict(network.state_dict(), strict=True)
    assert (
        network.hyperparameters.items()
        >= {key: value for key, value in hyperparameters.items() if key != "kind"}.items()
    )
    image = torch.rand(1, network.channels, 8, 12)
    assert torch.equal(again.eval()(image), network(image))


@pytest.mark.parametrize("hyperparameters", SMALL, ids=name)
def test_a_result_depends_on_as_many_pixels_around_it_as_declared_and_no_more(hyperparameters):
    network = open_relus(build(hyperparameters)).double()
    fold, scale, radius = network.multiple, network.scale, network.receptive_radius
    side = (2 * radius // fold + 5) * fold
    image = torch.full((1, network.channels, side, side), 0.5, dtype=torch.float64)
    image.requires_grad_()
    result = network(image)
    farthest = 0
    middle = side // fold // 2 * fold
    for row in range(middle * scale, (middle + fold) * scale):  # every phase of the grid
        (gradient,) = torch.autograd.grad(
            result[0, 0, row, middle * scale], image, retain_graph=True
        )
        rows = gradient[0, 0].abs().amax(dim=1).nonzero().flatten()
        home = row // scale
        farthest = max(farthest, home - int(rows.min()), int(rows.max()) - home)
    assert farthest == radius


@pytest.mark.parametrize("hyperparameters", SMALL, ids=name)
def test_the_tail_depends_on_as_many_features_around_it_as_declared(hyperparameters):
    network = open_relus(build(hyperparameters)).double()
    with torch.no_grad():
        like = network.features(torch.rand(1, network.channels, 8, 8, dtype=torch.float64))
    features = torch.full((1, like.shape[1], 15, 15), 0.5, dtype=torch.float64).requires_grad_()
    result = network.reconstruct(features)
    enlargement = network.scale * network.multiple
    farthest = 0
    for row in range(7 * enlargement, 8 * enlargement):
        (gradient,) = torch.autograd.grad(
            result[0, 0, row, 7 * enlargement], features, retain_graph=True
        )
        rows = gradient[0].abs().amax(dim=(0, 2)).nonzero().flatten()
        farthest = max(farthest, 7 - int(rows.min()), int(rows.max()) - 7)
    assert farthest == network.tail_radius


@pytest.mark.parametrize(
    ("hyperparameters", "parameters"),
    [
        # of the published networks, counted by their authors or in their files
        ({"kind": "edsr", "scale": 4}, 1_517_571),
        ({"kind": "edsr", "scale": 2}, 1_369_859),
        ({"kind": "edsr", "scale": 4, "blocks": 32, "width": 256}, 43_089_923),
        ({"kind": "rrdbnet", "scale": 4}, 16_697_987),
        ({"kind": "msrresnet", "scale": 4}, 1_517_571),
        ({"kind": "dncnn", "depth": 20, "batch_norm": False}, 668_227),
        ({"kind": "dncnn", "depth": 17, "batch_norm": False, "channels": 1}, 555_137),
        # 64 × 9 × 9 × 3 + 64 × 5 × 5 × 64 + 3 × 5 × 5 × 64 weights, 131 biases, 2 slopes
        ({"kind": "zhao"}, 15_552 + 102_400 + 4_800 + 131 + 2),
        ({"kind": "srcnn", "channels": 1}, 5_184 + 2_048 + 800 + 97 + 2),
    ],
    ids=str,
)
def test_a_network_has_as_many_parameters_as_the_published_one(hyperparameters, parameters):
    with torch.device("meta"):
        network = create(**hyperparameters)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("hyperparameters", SMALL, ids=name)
def test_a_seed_gives_one_network_and_spends_no_other_random_numbers(hyperparameters):
    torch.manual_seed(1)
    network = create(**hyperparameters)
    before = torch.get_rng_state()
    initialise(network, torch.Generator().manual_seed(7))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = build(hyperparameters, seed=7)
    other = build(hyperparameters, seed=8)
    states = network.state_dict(), again.state_dict(), other.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


def test_weights_are_drawn_as_the_papers_say():
    dncnn = build({"kind": "dncnn", "depth": 3})
    he = (2 / (64 * 9)) ** 0.5
    assert dncnn.model[2].weight.std().item() == pytest.approx(he, rel=0.02)
    assert dncnn.model[-1].weight.std().item() == pytest.approx(0.1 * he, rel=0.1)
    assert not dncnn.model[2].bias.any()
    srcnn = build({"kind": "srcnn"})
    assert srcnn.conv1.weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert srcnn.prelu1.weight.item() == 0.25
    rrdb = build({"kind": "rrdbnet", "scale": 4, "blocks": 1})
    assert rrdb.RRDB_trunk[0].RDB1.conv1.weight.std().item() == pytest.approx(0.1 * he, rel=0.02)
    edsr = build({"kind": "edsr", "scale": 4, "blocks": 1})
    bound = (64 * 9) ** -0.5
    assert 0.99 * bound < edsr.body[0].body[0].weight.abs().max().item() <= bound


def test_dncnn_starts_near_the_identity_in_no_other_way_than_its_residual():
    network = build({"kind": "dncnn", "depth": 3, "width": 4})
    with torch.no_grad():
        network.model[-1].weight.zero_()
    image = torch.rand(1, 3, 6, 6)
    assert torch.equal(network(image), image)


def test_edsr_keeps_a_constant_colour_without_its_trained_layers():
    network = build({"kind": "edsr", "scale": 2, "blocks": 1, "width": 4})
    with torch.no_grad():
        network.tail[1].weight.zero_()
        network.tail[1].bias.zero_()
    mean = torch.tensor([0.4488, 0.4371, 0.4040]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(network(torch.rand(1, 3, 4, 4)), mean.expand(1, 3, 8, 8))


def test_edsr_computes_the_same_in_either_range_but_for_its_biases():
    small = {"kind": "edsr", "scale": 2, "blocks": 1, "width": 8}
    wide, unit = build(small), build(small | {"value_range": 1})
    with torch.no_grad():
        for network in (wide, unit):
            for layer in network.modules():
                if isinstance(layer, nn.Conv2d):
                    layer.bias.zero_()
    image = torch.rand(1, 3, 6, 6)
    torch.testing.assert_close(wide(image), unit(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_enlarging_is_bilinear(scale):
    image = torch.rand(2, 3, 5, 8, dtype=torch.float64)
    expected = nn.functional.interpolate(image, scale_factor=scale, mode="bilinear")
    torch.testing.assert_close(enlarged(image, scale), expected)


def test_msrresnet_without_its_trained_layers_enlarges():
    network = build({"kind": "msrresnet", "scale": 4, "blocks": 1, "width": 4})
    with torch.no_grad():
        network.conv_last.weight.zero_()
    image = torch.rand(1, 3, 6, 7)
    expected = nn.functional.interpolate(image, scale_factor=4, mode="bilinear")
    torch.testing.assert_close(network(image), expected)


def test_the_discriminator_halves_an_image_five_times_and_judges_it():
    network = VGGDiscriminator(size=64, width=4)
    initialise(network, torch.Generator().manual_seed(0))
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 1)
    assert network.linear1.in_features == 32 * 2 * 2


def test_the_discriminator_has_the_names_and_shapes_of_the_release():
    with torch.device("meta"):
        state = VGGDiscriminator().state_dict()
    expected = {"conv0_0.weight": (64, 3, 3, 3), "conv0_0.bias": (64,)}
    for level, (inputs, outputs) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)]):
        expected[f"conv{level}_1.weight"] = (outputs, outputs, 4, 4)
        if level:
            expected[f"conv{level}_0.weight"] = (outputs, inputs, 3, 3)
    expected |= {"conv4_0.weight": (512, 512, 3, 3), "conv4_1.weight": (512, 512, 4, 4)}
    norms = [f"bn{level}_{half}" for level in range(5) for half in (0, 1)][1:]
    widths = {0: 64, 1: 128, 2: 256, 3: 512, 4: 512}
    for norm in norms:
        for part in ("weight", "bias", "running_mean", "running_var"):
            expected[f"{norm}.{part}"] = (widths[int(norm[2])],)
        expected[f"{norm}.num_batches_tracked"] = ()
    expected |= {"linear1.weight": (100, 8192), "linear1.bias": (100,)}
    expected |= {"linear2.weight": (1, 100), "linear2.bias": (1,)}
    assert {key: tuple(tensor.shape) for key, tensor in state.items()} == expected


def test_a_discriminator_of_a_bad_size_is_refused():
    with pytest.raises(ValueError, match="size is 100 px; it must be a multiple of 32"):
        VGGDiscriminator(size=100)


def test_an_unknown_network_is_refused_by_name():
    with pytest.raises(ValueError, match="'unet'; it must be one of edsr, srresnet, msrresnet"):
        create("unet")
    assert list(RESTORERS) == [
        "edsr",
        "srresnet",
        "msrresnet",
        "dncnn",
        "rrdbnet",
        "zhao",
        "srcnn",
    ]
