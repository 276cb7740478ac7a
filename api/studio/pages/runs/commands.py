"""The same job by the REST interface and by the command line, to be copied."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_jsonable_python

from api.schemas import JobOut
from services.evaluation.spec import Evaluation
from services.phase1.recipe import PRESETS as LOSS_PRESETS
from services.phase1.recipe import DiscriminatorTraining
from services.phase1.recipe import Task as LossTask
from services.phase2.objective import Mdf
from services.phase2.recipe import PRESETS as RESTORER_PRESETS
from services.phase2.recipe import RestorationTraining
from services.phase2.tasks import AnyTask
from services.restoration.spec import Restoration

Json = dict[str, Any]

DEFAULT_ADDRESS = "http://127.0.0.1:8000"
_SPECS: Mapping[str, type[BaseModel]] = {
    "discriminator_training": DiscriminatorTraining,
    "restoration_training": RestorationTraining,
    "restoration": Restoration,
    "evaluation": Evaluation,
}
_loss_task: TypeAdapter[LossTask] = TypeAdapter(LossTask)
_restorer_task: TypeAdapter[AnyTask] = TypeAdapter(AnyTask)
# What the command line has an option for, of a task's parameters.
_OPTIONS = {"denoising": "sigma", "jpeg": "quality", "sisr": "factor"}
_ENDS = {"sigma": 2, "quality": 2, "factor": 1}
_TASK_FILE = "task.json"


@dataclass(frozen=True)
class Asked:
    """A job that could be submitted; `spec` is complete, as it would be stored."""

    type: str
    spec: Json
    name: str = ""
    priority: int = 0
    deadline: datetime | None = None


Job = Asked | JobOut


def given(job: Job) -> Json:
    """The spec, as short as it can be: what differs from the defaults and from the preset."""
    spec = job.spec
    fields = _SPECS[job.type].model_fields
    short = {
        name: value
        for name, value in spec.items()
        if name != "type"
        and (fields[name].is_required() or value != to_jsonable_python(fields[name].default))
    }
    if job.type == "discriminator_training":
        short["recipe"] = _changes(LOSS_PRESETS[spec["preset"]], spec["recipe"])
    if job.type == "restoration_training":
        preset = RESTORER_PRESETS[spec["preset"]]
        short["recipe"] = _changes(preset.recipe, spec["recipe"])
        for part in ("task", "network", "loss"):
            if spec[part] == getattr(preset, part).model_dump(mode="json"):
                del short[part]
    if not short.get("recipe", True):
        del short["recipe"]
    return short


def curl(job: Job, address: str, *, with_key: bool) -> str | None:
    """The call of the REST interface; None for a job that is not asked for by itself."""
    if job.type not in _SPECS:
        return None
    body: Json = {"type": job.type, **given(job)}
    if job.name:
        body["name"] = job.name
    if job.priority:
        body["priority"] = job.priority
    if job.deadline is not None:
        body["deadline"] = job.deadline.isoformat()
    words = [f"curl -X POST {shlex.quote(f'{address}/v1/jobs')}"]
    if with_key:  # from the environment, as `mdf` takes it
        words.append('-H "Authorization: Bearer $MDF_API_KEY"')
    words.append("-H 'Content-Type: application/json'")
    words.append(f"-d {shlex.quote(json.dumps(body, indent=2, ensure_ascii=False))}")
    return _continued(words)


def command(job: Job, address: str) -> str | None:
    """The `mdf` command; None where the command line has no options for all of it."""
    if job.type not in _SPECS:
        return None
    spec = given(job)
    match job.type:
        case "discriminator_training":
            file, words = _train(spec)
        case "restoration_training":
            file, words = _restore_train(spec)
        case "restoration":
            file, words = [], _restore(spec)
        case "evaluation" if job.spec["metrics"]:
            file, words = _evaluate(spec)
        case _:
            return None
    if job.name and job.type != "restoration":
        words.append(_option("--name", job.name))
    if address != DEFAULT_ADDRESS:
        words.append(_option("--url", address))
    return "\n".join([*file, _continued(words)])


def _train(spec: Json) -> tuple[list[str], list[str]]:
    file, task = _task_options(spec["task"], _loss_task)
    seeds = " ".join(map(shlex.quote, spec["seed_image_ids"]))
    words = [f"mdf train {seeds}", *task]
    if "preset" in spec:
        words.append(_option("--preset", spec["preset"]))
    return file, [*words, *_settings(spec.get("recipe", {}))]


def _restore_train(spec: Json) -> tuple[list[str], list[str]]:
    words = [f"mdf restore-train {shlex.quote(spec['dataset_id'])}"]
    words.append(_option("--preset", spec["preset"]))
    file: list[str] = []
    if "task" in spec:
        file, task = _task_options(spec["task"], _restorer_task)
        words += task
    if "network" in spec:
        words.append(_option("--network", _compact(spec["network"])))
    if "loss" in spec:
        words.append(_option("--loss", _loss(spec["loss"])))
    if "validation_dataset_id" in spec:
        words.append(_option("--validation", spec["validation_dataset_id"]))
    if "validation_share" in spec:
        words.append(_option("--validation-share", spec["validation_share"]))
    if "start_from" in spec:
        words.append(_option("--start-from", spec["start_from"]))
    return file, [*words, *_settings(spec.get("recipe", {}))]


def _restore(spec: Json) -> list[str]:
    images = spec.get("image_ids") or [spec["dataset_id"]]
    words = [f"mdf restore {' '.join(map(shlex.quote, images))}"]
    words.append(_option("--model", spec["model_id"]))
    if "format" in spec:
        words.append(_option("--format", spec["format"]))
    if "quality" in spec:
        words.append(_option("--quality", spec["quality"]))
    return words


def _evaluate(spec: Json) -> tuple[list[str], list[str]]:
    words = ["mdf evaluate", *(_option("--model", each) for each in spec["model_ids"])]
    words.append(_option("--dataset", spec["dataset_id"]))
    words += [_option("--metric", each) for each in spec.get("metrics", [])]
    words += [_option("--loss", each) for each in spec.get("loss_ids", [])]
    file: list[str] = []
    if "task" in spec:
        file, task = _task_options(spec["task"], _restorer_task)
        words += task
    if "images" in spec:
        words.append(_option("--images", spec["images"]))
    if "crop" in spec:
        words.append(_option("--crop", spec["crop"]))
    if "random_seed" in spec:
        words.append(_option("--seed", spec["random_seed"]))
    return file, words


def _task_options(task: Json, tasks: TypeAdapter[Any]) -> tuple[list[str], list[str]]:
    """The lines that write the task's file, if it needs one, and the options."""
    kind = task["kind"]
    if kind != "custom":
        usual = tasks.validate_python({"kind": kind}).model_dump(mode="json")
        changed = {name: value for name, value in task.items() if value != usual[name]}
        option = _OPTIONS.get(kind, "")
        if not changed:
            return [], [_option("--task", kind)]
        if list(changed) == [option]:
            value = changed[option]
            # A range of one value is written as that value; its option takes both ends.
            values = value if isinstance(value, list) else [value] * _ENDS[option]
            return [], [_option("--task", kind), _option(f"--{option}", *values)]
    content = json.dumps(task, indent=2, ensure_ascii=False)
    return [f"cat > {_TASK_FILE} <<'END'", content, "END"], [_option("--task", _TASK_FILE)]


def _loss(loss: Json) -> str:
    """By its id if it is an MDF loss as it comes."""
    if loss["kind"] == "mdf":
        usual = Mdf(loss_id=loss["loss_id"], digest=loss["digest"]).model_dump(mode="json")
        if loss == usual:
            return str(loss["loss_id"])
    return _compact(loss)


def _changes(preset: BaseModel, recipe: Mapping[str, Any]) -> Json:
    """What a recipe changes of a preset's; of an optimiser and its like, single values."""
    before = preset.model_dump(mode="json")
    changes = {}
    for name, value in recipe.items():
        old = before[name]
        if value == old or (value is None and name in ("iterations", "epochs")):
            continue
        partly = isinstance(value, Mapping) and value.get("kind") == old.get("kind")
        changes[name] = (
            {inner: each for inner, each in value.items() if each != old[inner]}
            if partly
            else value
        )
    return changes


def _settings(changes: Mapping[str, Any], outer: str = "") -> Iterable[str]:
    for name, value in changes.items():
        if isinstance(value, Mapping) and "kind" not in value:  # what it changes of one
            yield from _settings(value, f"{outer}{name}.")
        else:
            text = value if isinstance(value, str) else _compact(value)
            yield _option("--set", f"{outer}{name}={text}")


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _option(name: str, *values: object) -> str:
    return " ".join([name, *(shlex.quote(str(value)) for value in values)])


def _continued(words: Sequence[str]) -> str:
    return " \\\n  ".join(words)
