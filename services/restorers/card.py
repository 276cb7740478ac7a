"""The card of a model: what it is, how it was made and how to use it, in Markdown."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from services.cards import files_table, known, table, task_in_words, text
from services.database.schema import Model, ModelFile

NETWORKS = {
    "edsr": "EDSR (Lim et al. 2017)",
    "srresnet": "SRResNet (Ledig et al. 2017)",
    "msrresnet": "MSRResNet, SRResNet as modified by Wang et al. (2018)",
    "dncnn": "DnCNN (Zhang et al. 2017)",
    "rrdbnet": "RRDBNet, the generator of ESRGAN (Wang et al. 2018)",
    "zhao": "the demosaicking network of Zhao et al. 2017",
    "srcnn": "SRCNN (Dong et al. 2016)",
}


def write_card(model: Model, files: Sequence[ModelFile]) -> str:
    """The card, from the model's row and its files'."""
    manifest = model.manifest
    network = manifest["network"]
    sections = [
        f"# {text(model.name or model.id)}",
        f"{NETWORKS[network['kind']]} for {task_in_words(manifest['task'])}, {manifest['origin']}.",
        f"## Use\n\n```\nmdf restore photograph.png --model {model.id}\n```\n\n"
        "```python\nimport torch\n\n"
        f'restore = torch.export.load("{model.id}.pt2").module()\n'
        "restored = restore(image)  # (N, C, H, W) in [0, 1]; the result is not clamped\n```\n\n"
        "The ONNX file has the input `image` and the output `restored`, of the same shapes.",
        "## What it is\n\n"
        + table(
            {
                "id": model.id,
                "network": json.dumps(network),
                "task": json.dumps(manifest["task"]),
                "loss": _loss(manifest["loss"]),
                "trained by job": model.job_id or "–",
                "created": model.created.isoformat(timespec="seconds"),
            }
        ),
    ]
    if manifest["metrics"]:
        sections.append("## Measured in validation\n\n" + table(manifest["metrics"]))
    sections += [
        "## How it was trained\n\n"
        + table(
            {
                "data set (SHA-256)": known(manifest["dataset"].get("digest")),
                "images": known(manifest["dataset"].get("images")),
                "random seed": known(manifest["random_seed"]),
                "iterations": manifest["iterations"] or "unknown",
                **{f"`{key}`": _plain(value) for key, value in manifest["recipe"].items()},
                **{f"version of {key}": value for key, value in manifest["software"].items()},
            }
        ),
        "## Files\n\n" + files_table(files),
    ]
    return "\n\n".join(sections) + "\n"


def _loss(loss: Mapping[str, Any]) -> str:
    return json.dumps(loss) if loss else "unknown"


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value
