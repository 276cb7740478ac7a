"""Other files that a loss is offered as, for code that does not have this package.

`.pth`: manifest and state dicts, which `torch.load(weights_only=True)` reads.
`.pt2`: a program of `torch.export` for any batch size and image size, which needs torch and
numpy, and nothing of this package.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mdf.artefact import Manifest
from mdf.discriminator import Discriminator
from mdf.errors import ArtefactError
from mdf.loss import MDFLoss


def state_dicts(manifest: Manifest, discriminators: Sequence[Discriminator]) -> bytes:
    """A `.pth` file: `{"manifest": JSON text, "discriminators": [state dict, …]}`."""
    states = [
        {name: tensor.detach().cpu().clone() for name, tensor in each.state_dict().items()}
        for each in discriminators
    ]
    manifest.discriminators(states)  # what is written can be read
    file = io.BytesIO()
    torch.save({"manifest": manifest.to_json(), "discriminators": states}, file)
    return file.getvalue()


def read_state_dicts(content: Mapping[str, Any]) -> tuple[Manifest, list[Discriminator]]:
    """Manifest and discriminators from what `state_dicts` put into its file."""
    if content.keys() != {"manifest", "discriminators"}:
        raise ArtefactError(
            'the file is not an MDF loss: it must hold "manifest" and "discriminators" alone'
        )
    text, states = content["manifest"], content["discriminators"]
    if not isinstance(text, str) or not _are_state_dicts(states):
        raise ArtefactError("the file is not an MDF loss: its manifest or a state dict is damaged")
    manifest = Manifest.from_json(text)
    return manifest, manifest.discriminators(states)


def _are_state_dicts(states: Any) -> bool:
    return isinstance(states, list) and all(
        isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())
        for state in states
    )


class _Program(nn.Module):
    """The loss in plain operations that torch.export can follow."""

    def __init__(self, loss: MDFLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        # a program does not know the device that it will run on
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return self.loss.terms(restored, target).sum()


def program(manifest: Manifest, discriminators: Sequence[Discriminator]) -> bytes:
    """A `.pt2` file: `torch.export.load(file).module()(restored, target)` is the loss.

    Batch, height and width are free, from one pixel above the loss's smallest side (torch.export
    takes maps of a single pixel for another case); the gradient goes to `restored`.
    """
    loss = MDFLoss(
        manifest, manifest.discriminators([each.state_dict() for each in discriminators])
    )
    side = loss.smallest_side + 1
    example = torch.zeros(2, 3, side + 5, side + 8)
    free = {
        0: torch.export.Dim("batch", min=1),
        2: torch.export.Dim("height", min=side),
        3: torch.export.Dim("width", min=side),
    }
    exported = torch.export.export(
        _Program(loss),
        (example, example.clone()),
        dynamic_shapes={"restored": free, "target": free},
    )
    return portable(exported)


def portable(exported: torch.export.ExportedProgram) -> bytes:
    """The program's file, without a trace of the machine that it was made on."""
    for module in exported.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            for trace in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn"):
                node.meta.pop(trace, None)  # paths and lines of files
    file = io.BytesIO()
    torch.export.save(exported, file)
    return file.getvalue()
