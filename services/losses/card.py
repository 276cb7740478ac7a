"""The card of a loss: what it is, how it was made and how to use it, in Markdown."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from services.database.schema import Loss, LossFile


def write_card(loss: Loss, files: Sequence[LossFile]) -> str:
    """The card, from the loss's row and its files'."""
    manifest = loss.manifest
    name = loss.name or loss.id
    sections = [
        f"# {_text(name)}",
        f"An MDF loss for {_task(manifest['task'])}, {manifest['origin']} with "
        f"{len(manifest['widths'])} discriminators, coarsest scale first.",
        "## Use\n\n```python\nimport mdf\n\n"
        f'loss = mdf.load_loss("{loss.id}.safetensors")  # a frozen nn.Module\n'
        "value = loss(restored, target)  # both (N, 3, H, W) in [0, 1]; gradient to `restored`\n"
        "```",
        "## What it is\n\n"
        + _table(
            {
                "id": loss.id,
                "task": json.dumps(manifest["task"]),
                "widths": ", ".join(map(str, manifest["widths"])),
                "layers": manifest["layers"],
                "padding": manifest["padding"],
                "taps": manifest["taps"],
                "value range": json.dumps(manifest["value_range"]),
                "trained by job": loss.job_id or "–",
                "created": loss.created.isoformat(timespec="seconds"),
            }
        ),
        "## How it was trained\n\n"
        + _table(
            {
                "seeds (SHA-256 of the pixels)": ", ".join(manifest["seeds"]) or "unknown",
                "random seed": _known(manifest["random_seed"]),
                "iterations per scale": ", ".join(map(str, manifest["iterations"])),
                **{f"`{key}`": value for key, value in manifest["recipe"].items()},
                **{f"version of {key}": value for key, value in manifest["software"].items()},
            }
        ),
        "## Files\n\n"
        + "\n".join(
            ["| format | bytes | SHA-256 |", "| --- | --- | --- |"]
            + [f"| {file.format} | {file.size} | `{file.sha256}` |" for file in files]
        ),
        "## Method\n\nMustafa, Mikhailiuk, Iliescu, Babbar, Mantiuk: Training a Task-Specific "
        "Image Reconstruction Loss. WACV 2022.",
    ]
    return "\n\n".join(sections) + "\n"


def _task(task: Mapping[str, Any]) -> str:
    kind = task.get("kind")
    if kind == "denoising":
        return f"denoising, σ {_range(task['sigma'])} of 255"
    if kind == "jpeg":
        return f"the removal of JPEG artefacts, quality {_range(task['quality'])}"
    if kind == "sisr":
        return "single-image super-resolution"
    if kind == "custom":
        return "a pipeline of " + ", ".join(_text(each["kind"]) for each in task["distortions"])
    return "a task that its file does not name"


def _range(value: Any) -> str:
    return f"{value[0]:g} to {value[1]:g}" if isinstance(value, list) else f"{value:g}"


def _known(value: Any) -> Any:
    return "unknown" if value is None else value


def _table(rows: Mapping[str, Any]) -> str:
    lines = [f"| {_text(name)} | {_text(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def _text(value: Any) -> str:
    """`value` so that it stays in its cell and is no markup: names come from anybody."""
    text = str(value).replace("\\", "\\\\").replace("\n", " ")
    for character in "|<>[]*":
        text = text.replace(character, f"\\{character}")
    return text
