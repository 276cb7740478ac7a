"""What the cards of losses and of models share: Markdown of names and values."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.database.schema import LossFile, ModelFile


def task_in_words(task: Mapping[str, Any]) -> str:
    """What a loss or model is for; the task may be of a file that anybody has made."""
    try:
        return _in_words(task)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return "a task that its file does not describe well"


def _in_words(task: Mapping[str, Any]) -> str:
    kind = task.get("kind")
    if kind == "denoising":
        return f"denoising, σ {_range(task['sigma'])} of 255"
    if kind == "jpeg":
        return f"the removal of JPEG artefacts, quality {_range(task['quality'])}"
    if kind == "sisr":
        factor = f" ×{task['factor']}" if "factor" in task else ""
        return f"single-image super-resolution{factor}"
    if kind == "demosaicking":
        return f"joint demosaicking and denoising, {text(task['pattern'])}"
    if kind == "custom":
        return "a pipeline of " + ", ".join(text(each["kind"]) for each in task["distortions"])
    return "a task that its file does not name"


def known(value: Any) -> Any:
    """`value`, or that it is unknown."""
    return "unknown" if value is None else value


def table(rows: Mapping[str, Any]) -> str:
    """A table of names and values."""
    lines = [f"| {text(name)} | {text(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def files_table(files: Sequence[LossFile] | Sequence[ModelFile]) -> str:
    """The downloadable forms, with their size and digest."""
    rows = [f"| {file.format} | {file.size} | `{file.sha256}` |" for file in files]
    return "\n".join(["| format | bytes | SHA-256 |", "| --- | --- | --- |", *rows])


def text(value: Any) -> str:
    """`value` so that it stays in its cell and is no markup: names come from anybody."""
    plain = str(value).replace("\\", "\\\\").replace("\n", " ")
    for character in "|<>[]*":
        plain = plain.replace(character, f"\\{character}")
    return plain


def _range(value: Any) -> str:
    return f"{value[0]:g} to {value[1]:g}" if isinstance(value, list) else f"{value:g}"
