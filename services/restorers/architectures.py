"""Which network a state dict belongs to, told by the names and shapes of its tensors.

Known are the names that this service writes and those of public releases. Each function below
returns the network's specification and the state dict by our names, or None if the tensors are
another network's. What shapes do not tell is as in the release: the caller may know better.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models.restorers.dncnn import BATCH_NORM_EPSILON
from models.restorers.edsr import EDSR
from services.errors import BadModelFileError

State = dict[str, Tensor]
Found = tuple[dict[str, Any], State]

KNOWN = "EDSR, SRResNet, MSRResNet, DnCNN, RRDBNet (ESRGAN, Real-ESRGAN), SRCNN and Zhao's network"

_TORCH_EPSILON = 1e-5  # of torch's BatchNorm, if nobody says otherwise


def detect(state: State) -> Found | None:
    """The specification of the network, as plain data, and its state dict by our names.

    Raises: BadModelFileError for tensors that have the names of a network and not its shapes.
    """
    for recognise in (_edsr, _srresnet, _msrresnet, _rrdbnet, _dncnn, _srcnn):
        try:
            found = recognise(state)
        except (ArithmeticError, IndexError, ValueError, RuntimeError) as error:
            raise BadModelFileError(
                f"the file's tensors have the names of {recognise.__name__.lstrip('_')}, and "
                f"shapes or types that it never has ({error})"
            ) from None
        if found is not None:
            return found
    return None


def _edsr(state: State) -> Found | None:
    """EDSR of sanghyun-son/EDSR-PyTorch."""
    if not {"head.0.weight", "body.0.body.0.weight", "tail.0.0.weight"} <= state.keys():
        return None
    width = state["head.0.weight"].shape[0]
    blocks = _count(state, r"body\.\d+\.body\.0\.weight")
    spec: dict[str, Any] = {
        "kind": "edsr",
        "scale": _subpixel_scale(state, [f"tail.0.{index}.weight" for index in (0, 2)]),
        "blocks": blocks,
        "width": width,
        # Of the two releases: no tensor tells it.
        "residual_scale": 0.1 if width >= 256 else 1.0,
        "value_range": 255,
    }
    if "sub_mean.bias" not in state:  # some files leave out what is not trained
        constant = EDSR(scale=2, blocks=1, width=1).state_dict()
        means = {name: constant[name] for name in constant if "_mean." in name}
        return spec, state | means
    if state["sub_mean.bias"].abs().max() <= 1:
        spec["value_range"] = 1
    return spec, state


def _srresnet(state: State) -> Found | None:
    """SRResNet of Lornatang/SRGAN-PyTorch, the newer of which has the last layer in a list."""
    if "trunk.0.rcb.0.weight" not in state or "conv1.0.weight" not in state:
        return None
    state = _renamed(state, {r"conv3\.0\.": "conv3."})
    convolutions = [f"upsampling.{index}.upsample_block.0.weight" for index in (0, 1)]
    spec = {
        "kind": "srresnet",
        "scale": _subpixel_scale(state, convolutions),
        "blocks": _count(state, r"trunk\.\d+\.rcb\.0\.weight"),
        "width": state["conv1.0.weight"].shape[0],
    }
    return spec, state


def _msrresnet(state: State) -> Found | None:
    """MSRResNet of XPixelGroup/BasicSR, and of the release of ESRGAN before it."""
    state = _renamed(state, {r"recon_trunk\.": "body.", r"HRconv\.": "conv_hr."})
    needed = {"conv_first.weight", "body.0.conv1.weight", "upconv1.weight", "conv_last.weight"}
    if not needed <= state.keys():
        return None
    spec = {
        "kind": "msrresnet",
        "scale": _subpixel_scale(state, ["upconv1.weight", "upconv2.weight"]),
        "channels": state["conv_last.weight"].shape[0],
        "blocks": _count(state, r"body\.\d+\.conv1\.weight"),
        "width": state["conv_first.weight"].shape[0],
    }
    return spec, state


# RRDBNet's names: in BasicSR (Real-ESRGAN), and in the first release of ESRGAN.
_BASICSR = {
    r"body\.(\d+)\.rdb(\d)\.": r"RRDB_trunk.\1.RDB\2.",
    r"conv_body\.": "trunk_conv.",
    r"conv_up(\d)\.": r"upconv\1.",
    r"conv_hr\.": "HRconv.",
}
_FIRST_ESRGAN = {
    r"model\.0\.": "conv_first.",
    r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.": r"RRDB_trunk.\1.RDB\2.conv\3.",
    r"model\.1\.sub\.\d+\.(weight|bias)": r"trunk_conv.\1",
    r"model\.3\.": "upconv1.",
    r"model\.6\.": "upconv2.",
    r"model\.8\.": "HRconv.",
    r"model\.10\.": "conv_last.",
}


def _rrdbnet(state: State) -> Found | None:
    """RRDBNet of xinntao/ESRGAN, XPixelGroup/BasicSR and the first release of ESRGAN."""
    if "model.1.sub.0.RDB1.conv1.0.weight" in state:
        state = _renamed(state, _FIRST_ESRGAN)
    elif "body.0.rdb1.conv1.weight" in state:
        state = _renamed(state, _BASICSR)
    needed = {"RRDB_trunk.0.RDB1.conv1.weight", "conv_first.weight", "conv_last.weight"}
    if not needed <= state.keys():
        return None
    growth, width = state["RRDB_trunk.0.RDB1.conv1.weight"].shape[:2]
    channels = state["conv_last.weight"].shape[0]
    folded = state["conv_first.weight"].shape[1] // channels
    spec = {
        "kind": "rrdbnet",
        "scale": {1: 4, 4: 2, 16: 1}.get(folded, 0),
        "channels": channels,
        "blocks": _count(state, r"RRDB_trunk\.\d+\.RDB1\.conv1\.weight"),
        "width": width,
        "growth": growth,
    }
    return spec, state


def _dncnn(state: State) -> Found | None:
    """DnCNN of cszn/KAIR, and of the PyTorch trainings that call the layers `dncnn`."""
    if all(name.startswith("dncnn.") for name in state):
        state = _with_biases(_renamed(state, {r"dncnn\.": "model."}))
    if not all(re.match(r"model\.\d+\.\w+$", name) for name in state):
        return None
    convolutions = [tensor for name, tensor in _in_order(state) if tensor.ndim == 4]
    if len(convolutions) < 3:
        return None
    spec = {
        "kind": "dncnn",
        "channels": convolutions[-1].shape[0],
        "depth": len(convolutions),
        "width": convolutions[0].shape[0],
        "batch_norm": any(name.endswith("running_var") for name in state),
    }
    return spec, state


def _with_biases(state: State) -> State:
    """Zeros where convolutions have no bias, and BatchNorms for our ε instead of torch's.

    The training that has no bias anywhere has torch's ε too; the one with biases at the start has
    the authors', which is ours.
    """
    theirs = BATCH_NORM_EPSILON if "model.0.bias" in state else _TORCH_EPSILON
    changed = dict(state)
    for name, tensor in state.items():
        stem = name.removesuffix(".weight")
        if tensor.ndim == 4:
            changed.setdefault(f"{stem}.bias", torch.zeros(tensor.shape[0]))
        elif f"{stem}.running_var" in state and stem != name:
            variance = state[f"{stem}.running_var"]
            ratio = (variance + BATCH_NORM_EPSILON) / (variance + theirs)
            changed[name] = tensor * ratio.sqrt()
    return changed


def _srcnn(state: State) -> Found | None:
    """SRCNN and Zhao's network by our names; those with ReLU are those whose PReLU has slope 0."""
    convolutions = [f"conv{index}.weight" for index in (1, 2, 3)]
    if not all(name in state and state[name].ndim == 4 for name in convolutions):
        return None
    if not all(re.match(r"(conv[123]|prelu[12])\.", name) for name in state):
        return None
    first, second = state["conv1.weight"], state["conv2.weight"]
    slopes = {f"prelu{index}.weight": torch.zeros(1) for index in (1, 2)}
    widths, kernel = [first.shape[0], second.shape[0]], second.shape[2]
    if first.shape[1] == 3 and widths[0] == widths[1] and kernel == 5:
        return {"kind": "zhao", "width": widths[0]}, slopes | state
    spec = {
        "kind": "srcnn",
        "channels": first.shape[1],
        "widths": widths,
        "middle_kernel": kernel,
    }
    return spec, slopes | state


def _subpixel_scale(state: State, convolutions: list[str]) -> int:
    """The product of the factors of sub-pixel convolutions; 0 if it makes no sense."""
    scale = 1.0
    for name in convolutions:
        if name in state:
            outputs, inputs = state[name].shape[:2]
            scale *= (outputs / inputs) ** 0.5
    return int(scale) if scale == int(scale) else 0


def _count(state: State, pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)


def _renamed(state: State, names: Mapping[str, str]) -> State:
    """With the beginnings of names replaced, each by the first pattern that fits."""
    return {_rename(name, names): tensor for name, tensor in state.items()}


def _rename(name: str, names: Mapping[str, str]) -> str:
    for pattern, replacement in names.items():
        renamed, count = re.subn(f"^{pattern}", replacement, name)
        if count:
            return renamed
    return name


def _in_order(state: State) -> list[tuple[str, Tensor]]:
    """By the number of the layer."""
    return sorted(state.items(), key=lambda item: int(item[0].split(".")[1]))
