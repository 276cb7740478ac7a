"""A task put together on a page: one of the paper's, or a pipeline of distortions."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from nicegui.element import Element
from pydantic import BaseModel, TypeAdapter, ValidationError

from api.studio.frame import style
from services.distortions import AnyDistortion
from services.errors import BadInputError
from services.phase1.recipe import Custom, Denoising, JpegRestoration, Sisr, Task

# Kinds of tasks: their names, and what a loss of each is for.
TASKS: Mapping[str, tuple[str, str]] = {
    "denoising": ("Denoising", "Remove Gaussian noise"),
    "jpeg": ("JPEG restoration", "Remove the traces of strong compression"),
    "sisr": ("Super-resolution", "Bring back what a smaller picture has lost"),
    "custom": ("Your own", "A pipeline of distortions, step by step"),
}
_task_type = TypeAdapter[Any](Task)
# Seconds between two tellings while a slider moves.
THROTTLE = 0.1
# Names that do not follow from the schema's.
_LABELS = {
    "sigma": "σ",
    "jpeg": "JPEG",
    "webp": "WebP",
    "poisson_gaussian_noise": "Poisson–Gaussian noise",
    "salt_and_pepper": "Salt and pepper",
    "bayer_mosaic": "Bayer mosaic",
    "a": "a",
    "b": "b",
}
# What a slider spans where that is less than the schema allows; fields take the rest.
_SPANS: Mapping[tuple[str, str], tuple[float, float]] = {
    ("denoising", "sigma"): (0, 100),
    ("gaussian_noise", "sigma"): (0, 100),
    ("poisson_gaussian_noise", "a"): (0, 0.1),
    ("poisson_gaussian_noise", "b"): (0, 0.01),
    ("salt_and_pepper", "amount"): (0, 0.5),
    ("gaussian_blur", "sigma"): (0, 10),
    ("motion_blur", "length"): (1, 41),
    ("rescale", "factor"): (1, 8),
}
# What a new step begins with where the schema has no default.
_STARTS: Mapping[tuple[str, str], tuple[float, float]] = {
    ("gaussian_noise", "sigma"): (0, 55),
    ("salt_and_pepper", "amount"): (0, 0.1),
    ("jpeg", "quality"): (7, 10),
    ("webp", "quality"): (5, 20),
    ("gaussian_blur", "sigma"): (0.5, 2),
    ("motion_blur", "length"): (5, 15),
    ("rescale", "factor"): (2, 4),
}


class PipelineBuilder(Element, component="pipeline.js"):
    """Fields for a task; `task` is what they say, as the service would write it.

    Args:
        task: to begin with; None for denoising as in the paper.
        on_change: is given the task whenever it has changed.
    """

    def __init__(self, task: dict[str, Any] | None, on_change: Callable[[dict[str, Any]], Any]):
        super().__init__()
        style("pipeline")
        most = Custom.model_json_schema()["properties"]["distortions"]["maxItems"]
        self.props.update(
            task=task or Denoising().model_dump(mode="json"),
            tasks=[_task(model) for model in (Denoising, JpegRestoration, Sisr, Custom)],
            distortions=[_distortion(model) for model in get_args(get_args(AnyDistortion)[0])],
            most=most,
        )

        def take(changed: dict[str, Any]) -> Any:
            task = _task_type.validate_python(changed).model_dump(mode="json")
            with self.props.suspend_updates():  # the browser knows
                self.props["task"] = task
            return on_change(task)

        self.on("change", lambda event: take(event.args), throttle=THROTTLE)

    @property
    def task(self) -> dict[str, Any]:
        """What the fields say now."""
        return dict(self.props["task"])

    def set_task(self, task: dict[str, Any]) -> None:
        """Fill the fields anew."""
        self.props["task"] = task


def read_task(written: str | None) -> dict[str, Any] | None:
    """The task in an address, as JSON; None if there is none. BadInputError says what is wrong."""
    if not written:
        return None
    try:
        task: dict[str, Any] = _task_type.validate_json(written).model_dump(mode="json")
    except ValidationError as error:
        words = "; ".join(fault["msg"] for fault in error.errors())
        raise BadInputError(f"The task in this page's address is none: {words}") from error
    return task


def _task(model: type[BaseModel]) -> dict[str, Any]:
    kind = model.model_fields["kind"].default
    label, help_text = TASKS[kind]
    parameters = [] if model is Custom else _parameters(model, kind)
    return {"kind": kind, "label": label, "help": help_text, "parameters": parameters}


def _distortion(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    kind = schema["properties"]["kind"]["const"]
    return {
        "kind": kind,
        "label": parameter_label(kind),
        "help": schema["description"].partition("\n")[0],
        "parameters": _parameters(model, kind),
    }


def _parameters(model: type[BaseModel], kind: str) -> list[dict[str, Any]]:
    properties = model.model_json_schema()["properties"]
    return [_parameter(kind, name, schema) for name, schema in properties.items() if name != "kind"]


def _parameter(kind: str, name: str, schema: dict[str, Any]) -> dict[str, Any]:
    described = {"name": name, "label": parameter_label(name), "help": schema["description"]}
    if "enum" in schema:
        return {**described, "choices": schema["enum"], "start": schema["default"]}
    number = schema["anyOf"][0]
    whole = number["type"] == "integer"
    low, high = number["minimum"], number["maximum"]
    span = _SPANS.get((kind, name), (low, high))
    return {
        **described,
        "whole": whole,
        "low": low,
        "high": high,
        "span": span,
        "step": 1 if whole else (span[1] - span[0]) / 200,
        "start": schema.get("default") or _STARTS.get((kind, name), (low, high)),
    }


def parameter_label(name: str) -> str:
    """A parameter's name, or a distortion's, in words."""
    return _LABELS.get(name) or name.replace("_", " ").capitalize()
