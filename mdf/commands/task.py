"""From options to what a job asks for: the task and the recipe."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

TASKS = ("jpeg", "denoising", "sisr")
_RESTORATION_TASKS = (*TASKS, "demosaicking")
# Which task each of the options is of.
_OWNERS = {"sigma": "denoising", "quality": "jpeg", "factor": "sisr"}

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
Factor = Annotated[
    int | None,
    typer.Option("--factor", metavar="2|3|4", help="Enlargement of a sisr task.", show_default="4"),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change a hyperparameter, also an inner one such as optimiser.learning_rate; may be "
        "repeated.",
    ),
]


def read_task(
    name: str,
    *,
    sigma: tuple[float, float] | None,
    quality: tuple[int, int] | None,
    factor: int | None = None,
    known: Sequence[str] = TASKS,
) -> dict[str, Any]:
    """The task as the service takes it: one of the `known`, or a file's."""
    given = {"sigma": sigma, "quality": quality, "factor": factor}
    for option, value in given.items():
        owner = _OWNERS[option]
        if value is not None and name != owner:
            raise typer.BadParameter(f"--{option} belongs to --task {owner}, not to {name}")
    if name.endswith(".json"):
        return _read_file(Path(name))
    if name not in known:
        raise typer.BadParameter(
            f"unknown task {name!r}; there are {', '.join(known)}, or a .json file with a "
            "pipeline of distortions",
            param_hint="--task",
        )
    return {"kind": name} | {key: value for key, value in given.items() if value is not None}


def read_restoration_task(
    name: str | None,
    *,
    sigma: tuple[float, float] | None,
    quality: tuple[int, int] | None,
    factor: int | None,
) -> dict[str, Any] | None:
    """The task of a restorer; None if there is no `--task`."""
    if name is not None:
        return read_task(
            name, sigma=sigma, quality=quality, factor=factor, known=_RESTORATION_TASKS
        )
    for option, value in {"sigma": sigma, "quality": quality, "factor": factor}.items():
        if value is not None:
            raise typer.BadParameter(
                f"--{option} belongs to --task {_OWNERS[option]}: name that too"
            )
    return None


def read_settings(changes: list[str] | None) -> dict[str, Any]:
    """The values of `--set NAME=VALUE`; a value is JSON, or else a word.

    A name with dots is that of a value within others: `optimiser.learning_rate`.
    """
    settings: dict[str, Any] = {}
    for change in changes or ():
        name, equals, value = change.partition("=")
        *outer, inner = name.split(".")
        if not (equals and inner and all(outer)):
            raise typer.BadParameter(
                f"{change!r} is not NAME=VALUE, such as iterations=500", param_hint="--set"
            )
        place = settings
        for part in outer:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(
                    f"{change!r} is at odds with another value of {part}", param_hint="--set"
                )
        place[inner] = _value(value)
    return settings


def read_kind(text: str, option: str) -> dict[str, Any]:
    """A network or a loss: its kind, or all of it as JSON or in a .json file."""
    if text.endswith(".json"):
        content = _read_json(Path(text), option)
    elif text.lstrip().startswith("{"):
        try:
            content = json.loads(text)
        except ValueError as error:
            raise typer.BadParameter(f"{text} is not JSON: {error}", param_hint=option) from error
    else:
        content = {"kind": text}
    if isinstance(content, dict) and isinstance(content.get("kind"), str):
        return content
    raise typer.BadParameter(f"{text} must be an object with its `kind`", param_hint=option)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read_file(path: Path) -> dict[str, Any]:
    content = _read_json(path, "--task")
    if isinstance(content, list):
        return {"kind": "custom", "distortions": content}
    if isinstance(content, dict) and isinstance(content.get("kind"), str):
        return content
    raise typer.BadParameter(
        f"{path} must hold a list of distortions, or a task object with its `kind`, such as "
        '{"kind": "jpeg", "quality": [7, 10]}',
        param_hint="--task",
    )


def _read_json(path: Path, option: str) -> Any:
    if not path.is_file():
        raise typer.BadParameter(f"there is no file {path}", param_hint=option)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise typer.BadParameter(f"{path} is not JSON: {error}", param_hint=option) from error
