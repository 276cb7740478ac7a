"""Opens a loss from any file that holds one."""

from pathlib import Path
from typing import Any

import torch

from mdf import export, legacy, pickles
from mdf.artefact import MAX_BYTES, Manifest, read_artefact
from mdf.discriminator import Discriminator
from mdf.errors import ArtefactError
from mdf.loss import MDFLoss


def load_loss(
    source: str | Path | bytes,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> MDFLoss:
    """The loss in a file, frozen and ready to use.

    Args:
        source: a path, or the file's bytes: the safetensors artefact, the `.pth` file that the
            service offers, or a `.pth` file that the authors of the MDF loss published. They are
            told apart by content, and none of them is executed.
        device: where the loss computes; default: the CPU.
        dtype: that it computes in, torch.float32 or torch.float64.

    Raises: ArtefactError that says why the file is not a loss; OSError if it cannot be read.
    """
    manifest, discriminators = read_loss(_content(source))
    return MDFLoss(manifest, discriminators, dtype=dtype).to(device)


def read_loss(
    content: bytes, *, task: dict[str, Any] | None = None
) -> tuple[Manifest, list[Discriminator]]:
    """Manifest and discriminators in a file's bytes, of any kind that `load_loss` takes.

    `task` is named in the manifest of the authors' files, which do not know their task.
    """
    if content[8:9] == b"{":
        return read_artefact(content)
    if not pickles.is_torch_file(content):
        raise ArtefactError(
            f"the file is not a loss: it begins with {content[:8]!r}; known are the safetensors "
            "artefact, the service's .pth and the authors' .pth"
        )
    value = pickles.load(content, classes=legacy.CLASSES)
    if isinstance(value, dict):
        return export.read_state_dicts(value)
    return legacy.from_records(value, task=task)


def _content(source: str | Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    with Path(source).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ArtefactError(f"{source} has more than {MAX_BYTES} bytes; a loss has at most that")
    return content
