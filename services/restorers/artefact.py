"""The restorer artefact: one safetensors file with everything that a trained restorer is.

Tensors have the names of the network's parameters; the header's metadata holds one JSON text
under the key `mdf-restorer`, the manifest. Equal restorers have equal bytes, and reading executes
nothing.
"""

from collections.abc import Mapping

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from mdf.artefact import metadata
from mdf.errors import ArtefactError
from models.restorers import Restorer
from services.errors import BadModelFileError
from services.restorers.manifest import RestorerManifest

METADATA_KEY = "mdf-restorer"
MAX_BYTES = 2 << 30

__all__ = [
    "MAX_BYTES",
    "METADATA_KEY",
    "RestorerManifest",
    "assemble",
    "read_restorer",
    "write_restorer",
]


def write_restorer(manifest: RestorerManifest, network: Restorer) -> bytes:
    """The artefact's bytes; the same restorer gives the same bytes."""
    state = {
        name: tensor.detach().to("cpu").contiguous()
        for name, tensor in network.state_dict().items()
    }
    assemble(manifest, state)  # what is written can be read
    return safetensors.torch.save(state, metadata={METADATA_KEY: manifest.to_json()})


def read_restorer(content: bytes) -> tuple[RestorerManifest, Restorer]:
    """Manifest and network, in evaluation mode and frozen, that `write_restorer` wrote.

    Raises BadModelFileError that names what is wrong; nothing in the file is executed.
    """
    if len(content) > MAX_BYTES:
        raise BadModelFileError(
            f"the file has {len(content)} bytes; a restorer has at most {MAX_BYTES} bytes"
        )
    try:
        text = metadata(content).get(METADATA_KEY)
    except ArtefactError as error:
        raise BadModelFileError(str(error)) from None
    if not isinstance(text, str):
        raise BadModelFileError(
            f'the file has no "{METADATA_KEY}" manifest in its header: it is not a restorer of '
            "this service; weights from elsewhere can be imported"
        )
    manifest = RestorerManifest.from_json(text)
    return manifest, assemble(manifest, load_tensors(content))


def load_tensors(content: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name."""
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError, AssertionError) as error:
        raise BadModelFileError(f"the file is not valid safetensors: {error}") from None


def assemble(manifest: RestorerManifest, state: Mapping[str, Tensor]) -> Restorer:
    """The network that the manifest describes with these weights, in evaluation mode and frozen.

    Raises BadModelFileError for a tensor that is missing, too many, of a wrong shape or type, or
    not finite.
    """
    with torch.device("meta"):  # neither memory nor the caller's random numbers are spent
        network = manifest.spec.build()
    expected = network.state_dict()
    if missing := sorted(expected.keys() - state.keys()):
        raise BadModelFileError(f"the file lacks the tensor {missing[0]}")
    if unknown := sorted(state.keys() - expected.keys()):
        raise BadModelFileError(f"the file has an unknown tensor {unknown[0]!r:.80}")
    for name, like in expected.items():
        tensor = state[name]
        if (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            raise BadModelFileError(
                f"the tensor {name} is {tensor.dtype} {tuple(tensor.shape)}; its network asks for "
                f"{like.dtype} {tuple(like.shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise BadModelFileError(f"the tensor {name} holds values that are not finite")
        if name.endswith("running_var") and (tensor < 0).any():
            raise BadModelFileError(f"the tensor {name} holds negative variances")
    network.load_state_dict(
        {name: tensor.detach().cpu().clone() for name, tensor in state.items()}, assign=True
    )
    return network.eval().requires_grad_(False)
