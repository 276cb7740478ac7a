"""Restorers that were trained elsewhere: our own files, and public checkpoints.

`convert` imports torch: it is for `services.workbench`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.errors import BadModelFileError

if TYPE_CHECKING:
    from torch import Tensor

    from models.restorers import Restorer
    from services.restorers.manifest import RestorerManifest

# Where trainings keep the weights in what they save; the averaged ones before the others.
_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "generator")
# What parallel training, compilation and trainers put before every name.
_PREFIXES = ("module.", "_orig_mod.", "generator.", "netG.")
_MOST_WRAPPERS = 8  # around each other; a wrapper may also hold itself
_SHOWN = 4
_TELLING = ("Unsupported", "WeightsUnpickler")  # how the useful lines of torch's refusals begin


def convert(
    source: Path,
    folder: Path,
    network: dict[str, Any] | None = None,
    task: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Read a restorer's file by its content, never executing it, and write it in our formats.

    From file to files, so that nothing large passes from one process to another.

    Args:
        source: our artefact; or the state dict of a network that is known
            (`architectures.KNOWN`) as safetensors or `.pth`, by the names of the public releases.
        folder: where the files are written, each by the name of its format.
        network: hyperparameters that its tensors do not tell, or all of them, as in
            `services.restorers.networks`; `{"residual_scale": 0.1}` is one.
        task: what the file was trained for, if the file does not say.

    Returns: the manifest.
    Raises: BadModelFileError that says what is wrong with the file.
    """
    from services.restorers.packing import pack

    manifest, restorer = read(source.read_bytes(), network, task)
    for form, content in pack(manifest, restorer).items():
        (folder / form).write_bytes(content)
    return manifest.to_dict()


def read(
    content: bytes, network: dict[str, Any] | None = None, task: dict[str, Any] | None = None
) -> tuple[RestorerManifest, Restorer]:
    """Manifest and network of a file's content, as for `convert`."""
    from services.restorers.architectures import KNOWN, detect
    from services.restorers.artefact import assemble, read_restorer
    from services.restorers.manifest import RestorerManifest

    if _is_ours(content):
        manifest, restorer = read_restorer(content)
        if not manifest.task and task:
            manifest = RestorerManifest(**manifest.to_dict() | {"task": task})
        return manifest, restorer
    state = _in_float32(_bare(_load(content)), budget=len(content))
    network = network or {}
    found = detect(state)
    if found is None and "kind" not in network:
        raise BadModelFileError(
            f"the file's tensors belong to no network that is known ({_some(state)}); known are "
            f"{KNOWN}"
        )
    spec, state = found or ({}, state)
    if network.get("kind", spec.get("kind")) != spec.get("kind", network.get("kind")):
        raise BadModelFileError(
            f"the file holds a network of the kind {spec['kind']}, not {network['kind']}"
        )
    manifest = RestorerManifest(origin="imported", network=spec | network, task=task or {})
    return manifest, assemble(manifest, state)


def _is_ours(content: bytes) -> bool:
    from mdf.artefact import metadata
    from services.restorers.artefact import METADATA_KEY

    return content[8:9] == b"{" and METADATA_KEY in _checked(metadata, content)


def _checked(function: Any, *arguments: Any) -> Any:
    from mdf.errors import MDFError

    try:
        return function(*arguments)
    except MDFError as error:
        raise BadModelFileError(str(error)) from None


def _load(content: bytes) -> Any:
    """What the file holds, by its first bytes."""
    from services.restorers.artefact import load_tensors

    if content[8:9] == b"{":
        return load_tensors(content)
    if content.startswith(b"PK\x03\x04"):
        _check_archive(content)
    elif not content.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04")):
        raise BadModelFileError(
            f"the file is not a model: it begins with {content[:8]!r}; known are safetensors and "
            ".pth files of torch.save"
        )
    return _unpickle(content)


def _check_archive(content: bytes) -> None:
    """Refuse what would take more memory than the file has bytes: torch packs nothing."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            total = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise BadModelFileError(f"the file is truncated or damaged: {error}") from None
    if total > len(content):
        raise BadModelFileError(
            f"the file's parts would take {total} bytes and it has {len(content)}: it is packed, "
            "which torch.save never does"
        )


def _unpickle(content: bytes) -> Any:
    import pickle

    import torch

    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadModelFileError(
            "the file holds more than tensors, and nothing in it is executed: save the network's "
            f"state_dict() alone ({_reason(error)})"
        ) from None
    except Exception as error:  # noqa: BLE001 - readers raise anything on damaged files
        raise BadModelFileError(
            f"the file is truncated or damaged and cannot be read ({_reason(error)})"
        ) from None


def _reason(error: Exception) -> str:
    """The first words that say something about the file."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith(_TELLING)), "")
    return (told or (lines[0] if lines else type(error).__name__))[:160]


def _bare(value: Any) -> dict[str, Tensor]:
    """The state dict alone, out of what trainings save around it."""
    import torch

    for _ in range(_MOST_WRAPPERS):
        if not isinstance(value, Mapping):
            break
        inner = next((value[key] for key in _WRAPPERS if isinstance(value.get(key), Mapping)), None)
        if inner is None:
            break
        value = inner
    if not isinstance(value, Mapping) or not value:
        raise BadModelFileError(
            f"the file holds no state dict but {type(value).__name__}: save the network's "
            "state_dict()"
        )
    others = [str(name) for name, tensor in value.items() if not isinstance(tensor, torch.Tensor)]
    if others:
        raise BadModelFileError(
            f"the file holds no state dict: {_some(others)} are no tensors; known wrappers are "
            + ", ".join(_WRAPPERS)
        )
    state = {str(name): tensor for name, tensor in value.items()}
    if strange := [name for name, tensor in state.items() if not _is_plain(tensor)]:
        raise BadModelFileError(
            f"the file's tensors {_some(strange)} are sparse, quantised or without numbers: save "
            "them as plain tensors"
        )
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _is_plain(tensor: Tensor) -> bool:
    """Whether its numbers are there, one for each place."""
    import torch

    return (
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_quantized or tensor.is_nested)
    )


def _in_float32(state: dict[str, Tensor], *, budget: int) -> dict[str, Tensor]:
    """Every number of lesser or greater precision as float32; counters stay whole.

    Tensors may overlap and repeat themselves: together they have no more than `budget` bytes.
    """
    import torch

    if (claimed := sum(tensor.nbytes for tensor in state.values())) > budget:
        raise BadModelFileError(
            f"the file has {budget} bytes, and its tensors claim {claimed}: some of them share "
            "their numbers; save copies"
        )
    return {
        name: tensor.detach().to(torch.float32) if tensor.is_floating_point() else tensor.detach()
        for name, tensor in state.items()
    }


def _some(names: Any) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"{name!r:.60}" for name in names[:_SHOWN]) + more
