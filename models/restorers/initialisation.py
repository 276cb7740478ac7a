"""How weights are drawn; all numbers come from one explicit generator.

They are drawn on the generator's device, so that one seed gives one network wherever it lives.
"""

import math

import torch
from torch import Tensor, nn

from models.restorers.layers import convolutions


@torch.no_grad()
def he_normal(module: nn.Module, generator: torch.Generator, *, gain: float = 1.0) -> None:
    """Every convolution in `module` ~ N(0, gain² · 2 / fan-in), biases 0 (He et al. 2015)."""
    for layer in convolutions(module):
        gaussian(layer, generator, std=gain * math.sqrt(2 / _fan_in(layer)))


@torch.no_grad()
def uniform(module: nn.Module, generator: torch.Generator) -> None:
    """Every convolution and linear layer in `module`: weights and biases within ±fan-in^(−½).

    That is torch's own way, which a paper means that says nothing and whose code says nothing.
    """
    for layer in convolutions(module):
        bound = _fan_in(layer) ** -0.5
        for parameter in layer.parameters():
            share = torch.rand(parameter.shape, generator=generator, device=generator.device)
            parameter.copy_((2 * share - 1) * bound)


@torch.no_grad()
def gaussian(layer: nn.Conv2d | nn.Linear, generator: torch.Generator, *, std: float) -> None:
    """The layer's weights ~ N(0, std²), its biases 0."""
    draw = torch.randn(layer.weight.shape, generator=generator, device=generator.device)
    layer.weight.copy_(std * draw)
    if layer.bias is not None:
        layer.bias.zero_()


@torch.no_grad()
def neutral(module: nn.Module) -> None:
    """Every BatchNorm in `module` without effect, every PReLU with slope ¼."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.PReLU):
            layer.weight.fill_(0.25)


def _fan_in(layer: nn.Conv2d | nn.Linear) -> int:
    weight: Tensor = layer.weight
    return weight[0].numel()
