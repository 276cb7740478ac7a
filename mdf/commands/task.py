"""From options to what a job asks for: the task and the recipe."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

TASKS = ("jpeg", "denoising", "sisr")

TaskName = Annotated[
    str,
    typer.Option(
        "--task",
        metavar="TASK",
        help="jpeg, denoising, sisr, or a .json file with a pipeline of distortions.",
    ),
]
Sigma = Annotated[
    tuple[float, float] | None,
    typer.Option(
        "--sigma",
        metavar="LOW HIGH",
        help="Noise of a denoising task, on the 0–255 scale.",
        show_default="0 55",
    ),
]
Quality = Annotated[
    tuple[int, int] | None,
    typer.Option(
        "--quality",
        metavar="LOW HIGH",
        help="Quality of a JPEG task, 1 to 100.",
        show_default="7 10",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change a hyperparameter; may be repeated."),
]


def read_task(
    name: str, *, sigma: tuple[float, float] | None, quality: tuple[int, int] | None
) -> dict[str, Any]:
    """The task as the service takes it."""
    if sigma is not None and name != "denoising":
        raise typer.BadParameter(f"--sigma belongs to --task denoising, not to {name}")
    if quality is not None and name != "jpeg":
        raise typer.BadParameter(f"--quality belongs to --task jpeg, not to {name}")
    if name.endswith(".json"):
        return _read_file(Path(name))
    if name not in TASKS:
        raise typer.BadParameter(
            f"unknown task {name!r}; there are {', '.join(TASKS)}, or a .json file with a "
            "pipeline of distortions",
            param_hint="--task",
        )
    task: dict[str, Any] = {"kind": name}
    if sigma is not None:
        task["sigma"] = sigma
    if quality is not None:
        task["quality"] = quality
    return task


def read_settings(changes: list[str] | None) -> dict[str, Any]:
    """The values of `--set NAME=VALUE`; a value is JSON, or else a word."""
    settings = {}
    for change in changes or ():
        name, equals, value = change.partition("=")
        if not (name and equals):
            raise typer.BadParameter(
                f"{change!r} is not NAME=VALUE, such as iterations=500", param_hint="--set"
            )
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings


def _read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise typer.BadParameter(f"there is no file {path}", param_hint="--task")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise typer.BadParameter(f"{path} is not JSON: {error}", param_hint="--task") from error
    if isinstance(content, list):
        return {"kind": "custom", "distortions": content}
    if isinstance(content, dict) and isinstance(content.get("kind"), str):
        return content
    raise typer.BadParameter(
        f"{path} must hold a list of distortions, or a task object with its `kind`, such as "
        '{"kind": "jpeg", "quality": [7, 10]}',
        param_hint="--task",
    )
