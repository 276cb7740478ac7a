"""The card of a loss: what it is, how it was made and how to use it, in Markdown."""

import json
from collections.abc import Sequence

from services.cards import files_table, known, table, task_in_words, text
from services.database.schema import Loss, LossFile


def write_card(loss: Loss, files: Sequence[LossFile]) -> str:
    """The card, from the loss's row and its files'."""
    manifest = loss.manifest
    name = loss.name or loss.id
    sections = [
        f"# {text(name)}",
        f"An MDF loss for {task_in_words(manifest['task'])}, {manifest['origin']} with "
        f"{len(manifest['widths'])} discriminators, coarsest scale first.",
        "## Use\n\n```python\nimport mdf\n\n"
        f'loss = mdf.load_loss("{loss.id}.safetensors")  # a frozen nn.Module\n'
        "value = loss(restored, target)  # both (N, 3, H, W) in [0, 1]; gradient to `restored`\n"
        "```",
        "## What it is\n\n"
        + table(
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
        + table(
            {
                "seeds (SHA-256 of the pixels)": ", ".join(manifest["seeds"]) or "unknown",
                "random seed": known(manifest["random_seed"]),
                "iterations per scale": ", ".join(map(str, manifest["iterations"])),
                **{f"`{key}`": value for key, value in manifest["recipe"].items()},
                **{f"version of {key}": value for key, value in manifest["software"].items()},
            }
        ),
        "## Files\n\n" + files_table(files),
        "## Method\n\nMustafa, Mikhailiuk, Iliescu, Babbar, Mantiuk: Training a Task-Specific "
        "Image Reconstruction Loss. WACV 2022.",
    ]
    return "\n\n".join(sections) + "\n"
