"""Classification networks whose activations are compared: VGG-16, VGG-19 and AlexNet.

Layers are numbered as in torchvision's models, so that their published weights load by name
(`features.0.weight`, …). Only what leads to the wanted activations is built.
"""

from collections.abc import Mapping
from typing import Literal, Self

import torch
from torch import Tensor, nn

from models.errors import WeightsError

VGG_WIDTHS = (64, 128, 256, 512, 512)
VGG_BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # convolutions of each block

VGG = Literal["vgg16", "vgg19"]


class FeatureNetwork(nn.Module):
    """The activations of some layers of a frozen network.

    Args:
        layers: the network's, in order; the index is the name of the weights.
        taps: indices of the layers whose outputs are returned, rising.

    Shape: (N, 3, H, W), normalised as the weights want it → one (N, c, h, w) for each tap.
    """

    def __init__(self, layers: list[nn.Module], taps: tuple[int, ...]) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers[: taps[-1] + 1])
        self.taps = taps
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        """The activations."""
        activations = []
        for index, layer in enumerate(self.features):
            image = layer(image)
            if index in self.taps:
                activations.append(image)
        return activations

    @property
    def dtype(self) -> torch.dtype:
        """That it computes in."""
        return next(self.parameters()).dtype

    def with_weights(self, state: Mapping[str, Tensor]) -> Self:
        """This network with the weights of `state`, which may hold further layers.

        Raises: WeightsError if a weight is missing or has another shape.
        """
        load_weights(self, state)
        return self


def scaled(image: Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tensor:
    """(image − mean) / deviation by channel; image (N, 3, H, W)."""
    shift, scale = (torch.tensor(values).to(image)[:, None, None] for values in (mean, deviation))
    result: Tensor = (image - shift) / scale
    return result


def vgg(network: VGG, *taps: str) -> FeatureNetwork:
    """A VGG (Simonyan and Zisserman 2015) up to the last of `taps`, without weights.

    Args:
        taps: layers, in order: `conv5_4` before its ReLU, or `relu5_4` after.

    Raises: ValueError if the network has no such layer.
    """
    layers: list[nn.Module] = []
    indices = {}
    channels = 3
    for block, (width, count) in enumerate(zip(VGG_WIDTHS, VGG_BLOCKS[network], strict=True), 1):
        for number in range(1, count + 1):
            indices[f"conv{block}_{number}"] = len(layers)
            indices[f"relu{block}_{number}"] = len(layers) + 1
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    for tap in taps:
        if tap not in indices:
            raise ValueError(f"{tap} is no layer of {network}; they are {', '.join(indices)}")
    return FeatureNetwork(layers, tuple(indices[tap] for tap in taps))


def alexnet() -> FeatureNetwork:
    """AlexNet in the form of Krizhevsky 2014, its five ReLUs tapped, without weights."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    ]
    return FeatureNetwork(layers, (1, 4, 7, 9, 11))


def load_weights(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give `module` its weights by name; others in `state` are left.

    Raises: WeightsError if a weight is missing or has another shape.
    """
    wanted = module.state_dict()
    for name, weight in wanted.items():
        if name not in state:
            raise WeightsError(f"the weights lack {name}; they hold {', '.join(list(state)[:4])}…")
        if state[name].shape != weight.shape:
            raise WeightsError(
                f"{name} has the shape {tuple(state[name].shape)}; {tuple(weight.shape)} is needed"
            )
    module.load_state_dict({name: state[name] for name in wanted})
