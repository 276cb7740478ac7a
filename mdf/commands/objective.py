"""From `--loss` to what a restorer is trained with."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from mdf.client.ids import is_id
from mdf.commands.task import read_kind


def read_loss(text: str) -> dict[str, Any]:
    """A loss by its kind, as JSON or in a .json file; an MDF loss by its id or its file."""
    if is_id(text, "loss") or text.endswith((".safetensors", ".pth")):
        return {"kind": "mdf", "loss_id": text}
    return read_kind(text, "--loss")


def resolve_losses(
    loss: Mapping[str, Any], resolve: Callable[[str], Mapping[str, str]]
) -> dict[str, Any]:
    """`loss`, in which every MDF loss has the fields that `resolve` gives for its id or file."""

    def resolved(part: Any) -> Any:
        if isinstance(part, list):
            return [resolved(each) for each in part]
        if not isinstance(part, Mapping):
            return part
        if part.get("kind") == "mdf":
            return {**part, **resolve(str(part.get("loss_id")))}
        return {name: resolved(value) for name, value in part.items()}

    return dict(resolved(loss))


def check_loss_file(name: str) -> Path:
    """The path of a loss's file, which is there."""
    path = Path(name)
    if not path.is_file():
        raise typer.BadParameter(f"there is no loss file {name}", param_hint="--loss")
    return path
