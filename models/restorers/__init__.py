"""Restoration networks: one file each, and the registry that knows them by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from models.restorers.dncnn import DnCNN
from models.restorers.edsr import EDSR
from models.restorers.msrresnet import MSRResNet
from models.restorers.restorer import Hyperparameter, Restorer
from models.restorers.rrdbnet import RRDBNet
from models.restorers.srcnn import SRCNN
from models.restorers.srresnet import SRResNet
from models.restorers.vgg_discriminator import VGGDiscriminator
from models.restorers.zhao import ZhaoNet

RESTORERS: Mapping[str, type[Restorer]] = MappingProxyType(
    {
        network.kind: network
        for network in (EDSR, SRResNet, MSRResNet, DnCNN, RRDBNet, ZhaoNet, SRCNN)
    }
)


def create(kind: str, **hyperparameters: Any) -> Restorer:
    """The network that is registered as `kind`.

    Raises: ValueError for a kind that is not registered; TypeError for a hyperparameter that the
    network does not have.
    """
    if kind not in RESTORERS:
        raise ValueError(f"the network is {kind!r}; it must be one of {', '.join(RESTORERS)}")
    return RESTORERS[kind](**hyperparameters)


def initialise(network: Restorer | VGGDiscriminator, generator: torch.Generator) -> None:
    """Draw the network's weights as its paper says; the same seed gives the same weights."""
    with torch.no_grad():
        network.draw(generator)


__all__ = [
    "EDSR",
    "RESTORERS",
    "SRCNN",
    "DnCNN",
    "Hyperparameter",
    "MSRResNet",
    "RRDBNet",
    "Restorer",
    "SRResNet",
    "VGGDiscriminator",
    "ZhaoNet",
    "create",
    "initialise",
]
