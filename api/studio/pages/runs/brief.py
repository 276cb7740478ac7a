"""What a run is to do: its spec in words, with links to what it names."""

import json
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlencode

from nicegui import ui

from api.schemas import JobOut
from api.studio.elements.ids import code
from api.studio.frame import link, panel, text
from api.studio.pages.runs.commands import command, curl, given
from api.studio.visitor import Visitor
from mdf.commands.terminal import describe_loss, describe_network, describe_task

# A name, and what draws its value.
_Fact = tuple[str, Callable[[], object]]


def draw_brief(job: JobOut) -> None:
    """The panel."""
    with panel("What is to be done"):
        with ui.element("dl").classes("facts"):
            for name, draw in _FACTS[job.type](job):
                text("dt", name)
                with ui.element("dd").classes("row"):
                    draw()
        if job.type == "discriminator_training":
            link("Train another with changes", train_again(job))


def train_again(job: JobOut) -> str:
    """Where a loss is trained, with all that this job was given."""
    query = {
        "image": job.spec["seed_image_ids"],
        "task": json.dumps(job.spec["task"]),
        "preset": job.spec["preset"],
        "recipe": json.dumps(given(job).get("recipe", {})),
    }
    return f"/train?{urlencode(query, doseq=True)}"


def draw_equivalents(job: JobOut, visitor: Visitor) -> None:
    """The same by REST and by the command line, where there is such a thing."""
    address = str(ui.context.client.request.base_url).rstrip("/")
    call = curl(job, address, with_key=visitor.caller.key_id is not None)
    if call is None:
        return
    with panel("The same by REST and by the command line"):
        if visitor.caller.key_id is not None:
            text("p", "Both take the API key from the variable MDF_API_KEY.", classes="quiet")
        text("h3", "Command line")
        typed = command(job, address)
        if typed is None:
            text("p", "The command line has no option for a part of this: use the call below.")
        else:
            code(typed, of="the command")
        text("h3", "REST")
        code(call, of="the REST call")


def _of_loss(job: JobOut) -> Iterator[_Fact]:
    yield _words("Task", describe_task(job.spec["task"]))
    yield "Seeds", lambda: _links("/seed?image=", job.spec["seed_image_ids"])
    yield _words("Preset", job.spec["preset"])
    yield from _recipe(job)


def _of_restorer(job: JobOut) -> Iterator[_Fact]:
    spec = job.spec
    yield _words("Task", describe_task(spec["task"]))
    yield _words("Network", describe_network(spec["network"]))
    if spec["loss"]["kind"] == "mdf":
        yield "Loss", lambda: _links("/losses/", [spec["loss"]["loss_id"]])
    else:
        yield _words("Loss", describe_loss(spec["loss"]))
    yield "Data set", lambda: _links("/datasets/", [spec["dataset_id"]])
    if spec["validation_dataset_id"] is None:
        yield _words("Validation", f"on {spec['validation_share']:.0%} of it, held out")
    else:
        yield "Validation on", lambda: _links("/datasets/", [spec["validation_dataset_id"]])
    yield _words("Preset", spec["preset"])
    if spec["start_from"] is not None:
        yield "Starts from", lambda: _links("/restorers/", [spec["start_from"]])
    yield from _recipe(job)


def _of_restoration(job: JobOut) -> Iterator[_Fact]:
    spec = job.spec
    yield "Restorer", lambda: _links("/restorers/", [spec["model_id"]])
    if spec["dataset_id"] is None:
        yield _words("Images", str(len(spec["image_ids"])))
    else:
        yield "Data set", lambda: _links("/datasets/", [spec["dataset_id"]])
    quality = "" if spec["quality"] is None else f", quality {spec['quality']}"
    yield _words("Files", f"{spec['format'].upper()}{quality}")


def _of_evaluation(job: JobOut) -> Iterator[_Fact]:
    spec = job.spec
    yield "Restorers", lambda: _links("/restorers/", spec["model_ids"])
    yield "Data set", lambda: _links("/datasets/", [spec["dataset_id"]])
    yield _words("Images", f"{spec['images']} at most")
    yield _words("Task", describe_task(spec["task"]))
    yield _words("Metrics", ", ".join(spec["metrics"]) or "none")
    if spec["loss_ids"]:
        yield "Losses", lambda: _links("/losses/", spec["loss_ids"])


def _of_import(job: JobOut) -> Iterator[_Fact]:
    yield "Data set", lambda: _links("/datasets/", [job.spec["dataset_id"]])


_FACTS = {
    "discriminator_training": _of_loss,
    "restoration_training": _of_restorer,
    "restoration": _of_restoration,
    "evaluation": _of_evaluation,
    "dataset_import": _of_import,
}


def _recipe(job: JobOut) -> Iterator[_Fact]:
    changes = given(job).get("recipe", {})
    if changes:
        told = ", ".join(f"{name} = {json.dumps(value)}" for name, value in changes.items())
        yield _words("Changed in the recipe", told)


def _words(name: str, value: str) -> _Fact:
    return name, lambda: text("span", value)


def _links(place: str, ids: Sequence[str]) -> None:
    for each in ids:
        kind, _, rest = each.partition("_")
        link(f"{kind}_…{rest[-8:]}", f"{place}{each}").props["title"] = each
