"""VGG and LPIPS, with random weights under the names of the published ones."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.errors import ShapeError, WeightsError
from models.losses import LPIPS, VGGLoss
from models.losses.feature_networks import VGG_BLOCKS, VGG_WIDTHS, alexnet, vgg
from models.losses.lpips import WIDTHS
from models.metrics import measure

Pair = tuple[Tensor, Tensor]

# torchvision 0.28 has its convolutions at these indices of `features`, with these shapes.
VGG19_INDICES = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
VGG16_INDICES = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
ALEXNET_SHAPES = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3)} | {
    10: (256, 256, 3)
}


def state(shapes: dict[int, tuple[int, int, int]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = {"classifier.0.weight": torch.zeros(1)}
    for index, (out, into, side) in shapes.items():
        drawn = torch.randn(out, into, side, side, generator=generator)
        weights[f"features.{index}.weight"] = drawn * (2 / (into * side**2)) ** 0.5
        weights[f"features.{index}.bias"] = torch.zeros(out)
    return weights


def vgg_state(network: str, indices: list[int]) -> dict[str, Tensor]:
    pairs = zip(VGG_WIDTHS, VGG_BLOCKS[network], strict=True)
    widths = [width for width, count in pairs for _ in range(count)]
    inputs = [3, *widths]
    return state({i: (widths[n], inputs[n], 3) for n, i in enumerate(indices)})


def heads(network: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1, generator=generator)
        for i, width in enumerate(WIDTHS[network])
    }


@pytest.fixture(scope="module")
def alex() -> LPIPS:
    return LPIPS(state(ALEXNET_SHAPES), heads("alex"))


def test_the_layers_of_the_vggs_are_torchvisions() -> None:
    assert vgg("vgg19", "conv1_2", "relu3_4", "conv5_4").taps == (2, 17, 34)
    layers = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
    assert vgg("vgg16", *layers).taps == (3, 8, 15, 22, 29)
    with pytest.raises(ValueError, match="conv3_4 is no layer of vgg16"):
        vgg("vgg16", "conv3_4")


@pytest.mark.parametrize(
    ("network", "indices"), [("vgg19", VGG19_INDICES), ("vgg16", VGG16_INDICES)]
)
def test_published_weights_of_a_vgg_load_by_their_names(network: str, indices: list[int]) -> None:
    weights = vgg_state(network, indices)
    last = "conv5_4" if network == "vgg19" else "conv5_3"
    built = vgg(network, last).with_weights(weights)  # type: ignore[arg-type]
    assert list(built.state_dict()) == [name for name in weights if name.startswith("features")]


def test_the_vgg_loss_is_the_mean_squared_difference_of_a_layer(
    random_pair: Callable[..., Pair],
) -> None:
    weights = vgg_state("vgg19", VGG19_INDICES)
    x, y = random_pair(1, 3, 16, 16, dtype=torch.float32)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]

    def conv1_2(image: Tensor) -> Tensor:
        image = (image - mean) / deviation
        image = F.conv2d(image, weights["features.0.weight"], padding=1).relu()
        return F.conv2d(image, weights["features.2.weight"], padding=1)

    expected = (conv1_2(x) - conv1_2(y)).square().mean().item()
    assert VGGLoss(weights, layer="conv1_2")(x, y).item() == pytest.approx(expected, rel=1e-5)


def test_the_vgg_loss_is_frozen_and_its_gradient_goes_to_the_restored_image(
    random_pair: Callable[..., Pair],
) -> None:
    loss = VGGLoss(vgg_state("vgg19", VGG19_INDICES), layer="conv2_2")
    x, y = (each.requires_grad_() for each in random_pair(1, 3, 16, 16, dtype=torch.float32))
    loss(x, y).backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert y.grad is None
    assert not any(weight.requires_grad for weight in loss.parameters())


def test_lpips_is_the_weighted_distance_of_unit_activations(
    alex: LPIPS, random_pair: Callable[..., Pair]
) -> None:
    x, y = random_pair(2, 3, 64, 48, dtype=torch.float32)
    network = alexnet().with_weights(state(ALEXNET_SHAPES))
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    pairs = zip(*(network((2 * image - 1 - shift) / scale) for image in (x, y)), strict=True)
    expected = torch.zeros(2)
    for (a, b), head in zip(pairs, heads("alex").values(), strict=True):
        u, v = (each / torch.linalg.vector_norm(each, dim=1, keepdim=True) for each in (a, b))
        expected += ((u - v).square() * head).sum(1).mean(dim=(1, 2))
    assert torch.allclose(alex.distances(x, y), expected, rtol=1e-4)
    assert alex(x, y).item() == pytest.approx(expected.mean().item(), rel=1e-4)
    assert measure(["lpips"], x, y, others={"lpips": alex.metric()})["lpips"] == pytest.approx(
        expected.mean().item(), rel=1e-4
    )


def test_lpips_of_vgg_has_the_layers_of_vgg16(random_pair: Callable[..., Pair]) -> None:
    loss = LPIPS(vgg_state("vgg16", VGG16_INDICES), heads("vgg"), network="vgg")
    x, y = random_pair(1, 3, 16, 16, dtype=torch.float32)
    assert loss(x, y) > 0
    assert loss(y, y) == 0


def test_lpips_has_a_finite_gradient_where_nothing_is_active(alex: LPIPS) -> None:
    black = torch.zeros(1, 3, 32, 32, requires_grad=True)
    alex(black, torch.zeros(1, 3, 32, 32)).backward()
    assert black.grad is not None
    assert black.grad.isfinite().all()


def test_the_perceptual_losses_take_colour_images_only(alex: LPIPS) -> None:
    grey = torch.zeros(1, 1, 64, 64)
    with pytest.raises(ShapeError, match="LPIPS: the images have 1 channels"):
        alex(grey, grey)


def test_lpips_takes_images_down_to_its_smallest_side(alex: LPIPS) -> None:
    smallest = torch.rand(1, 3, alex.smallest_side, alex.smallest_side)
    assert alex(smallest, smallest) == 0
    with pytest.raises(ShapeError, match="at least 31"):
        alex(smallest[..., 1:], smallest[..., 1:])


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"features.0.weight has the shape \(64, 3, 11, 11\)"):
        VGGLoss(state(ALEXNET_SHAPES))
    with pytest.raises(WeightsError, match=r"the weights lack lin0.model.1.weight"):
        LPIPS(state(ALEXNET_SHAPES), {})
