"""The weights of the perceptual losses: files in a folder, or torchvision's own.

The folder (setting `perceptual_weights`) may hold, as `.safetensors` or `.pth`, what torchvision
publishes under its own names (`vgg19-….pth`, `vgg16-….pth`, `alexnet-….pth`) and the linear layers
of LPIPS 0.1 as `lpips-alex.pth` and `lpips-vgg.pth`. Pickles are read by torch's loader for
weights, which executes nothing. What the folder lacks torchvision loads, if it is installed; the
linear layers of LPIPS it does not have.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from services.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from models.losses import LPIPS, VGGLoss

ENDINGS = (".safetensors", ".pth")


def vgg_loss(network: Literal["vgg16", "vgg19"], layer: str, folder: Path | None) -> VGGLoss:
    """The feature loss of `network` with its published weights.

    Raises: BadInputError, with the ways to get them, if the weights are not to be had.
    """
    from models.errors import WeightsError
    from models.losses import VGGLoss

    try:
        return VGGLoss(_weights(network, folder), network=network, layer=layer)
    except WeightsError as error:
        raise BadInputError(f"the weights of {network} do not fit: {error}") from error


def lpips(network: Literal["alex", "vgg"], folder: Path | None) -> LPIPS:
    """LPIPS with its published weights.

    Raises: BadInputError, with the ways to get them, if the weights are not to be had.
    """
    from models.errors import WeightsError
    from models.losses import LPIPS

    heads = _file(f"lpips-{network}", folder)
    if heads is None:
        raise BadInputError(
            f"the linear layers of LPIPS are missing: put `lpips-{network}.pth` of LPIPS 0.1 "
            f"into {_place(folder)}"
        )
    backbone = {"alex": "alexnet", "vgg": "vgg16"}[network]
    try:
        return LPIPS(_weights(backbone, folder), _read(heads), network=network)
    except WeightsError as error:
        raise BadInputError(f"the weights of LPIPS ({network}) do not fit: {error}") from error


def _weights(network: str, folder: Path | None) -> Mapping[str, Tensor]:
    path = _file(network, folder)
    if path is not None:
        return _read(path)
    way_out = f"put torchvision's file `{network}-….pth` into {_place(folder)}"
    try:
        from torchvision import models
    except ImportError as error:
        raise BadInputError(
            f"the weights of {network} are missing: {way_out}, or install torchvision "
            "(the extra `perceptual`), which loads them"
        ) from error
    try:
        model = models.get_model(network, weights="IMAGENET1K_V1")
    except (OSError, RuntimeError) as error:  # no network; a broken download
        raise BadInputError(
            f"torchvision could not load the weights of {network} ({error}): {way_out}"
        ) from error
    state: Mapping[str, Tensor] = model.state_dict()
    return state


def _file(name: str, folder: Path | None) -> Path | None:
    if folder is None or not folder.is_dir():
        return None
    # `vgg19.pth` or `vgg19-dcbb9e9d.pth`, not another network whose name begins alike.
    found = (
        path
        for path in sorted(folder.iterdir())
        if path.suffix in ENDINGS and (path.stem == name or path.stem.startswith(f"{name}-"))
    )
    return next(found, None)


def _read(path: Path) -> Mapping[str, Tensor]:
    import safetensors.torch
    import torch

    faults = (OSError, RuntimeError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError)
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except faults as error:
        raise BadInputError(f"{path} cannot be read as weights: {error}") from error
    if not isinstance(state, dict) or not all(torch.is_tensor(each) for each in state.values()):
        raise BadInputError(f"{path} is no state dict: it must hold tensors by name")
    return state


def _place(folder: Path | None) -> str:
    if folder is None:
        return "a folder and set MDF_PERCEPTUAL_WEIGHTS to it"
    return f"the folder {folder} (MDF_PERCEPTUAL_WEIGHTS)"
