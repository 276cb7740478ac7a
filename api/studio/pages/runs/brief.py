"""What a run is to do: its spec in words, with links to what it names."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import urlencode

from nicegui import ui
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.schemas import JobOut
from api.studio.elements.ids import code
from api.studio.frame import link, panel, text
from api.studio.pages.runs.commands import command, curl, given
from api.studio.visitor import Visitor
from mdf.commands.terminal import describe_loss, describe_network, describe_task
from services.access import Caller
from services.database.schema import Dataset, Image, Loss, Model

# A name, and its value in words or as the ids of things.
_Fact = tuple[str, str | Sequence[str]]
# By the prefixes of ids: where things are kept, and where they are shown.
_Thing = type[Image] | type[Dataset] | type[Loss] | type[Model]
_THINGS: Mapping[str, tuple[_Thing, str]] = {
    "img": (Image, "/seed?image="),
    "ds": (Dataset, "/datasets/"),
    "loss": (Loss, "/losses/"),
    "model": (Model, "/restorers/"),
}


async def draw_brief(job: JobOut, visitor: Visitor) -> None:
    """The panel."""
    facts = list(_FACTS[job.type](job))
    ids = [each for _, value in facts if not isinstance(value, str) for each in value]
    names = await visitor.read(lambda session, caller: _names(session, ids, caller))
    with panel("What is to be done"):
        with ui.element("dl").classes("facts"):
            for name, value in facts:
                text("dt", name)
                with ui.element("dd").classes("row"):
                    if isinstance(value, str):
                        text("span", value)
                    else:
                        _draw_links(value, names)
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
    yield "Task", describe_task(job.spec["task"])
    yield "Seeds", job.spec["seed_image_ids"]
    yield "Preset", job.spec["preset"]
    yield from _recipe(job)


def _of_restorer(job: JobOut) -> Iterator[_Fact]:
    spec = job.spec
    yield "Task", describe_task(spec["task"])
    yield "Network", describe_network(spec["network"])
    if spec["loss"]["kind"] == "mdf":
        yield "Loss", [spec["loss"]["loss_id"]]
    else:
        yield "Loss", describe_loss(spec["loss"])
    yield "Data set", [spec["dataset_id"]]
    if spec["validation_dataset_id"] is None:
        yield "Validation", f"on {spec['validation_share']:.0%} of it, held out"
    else:
        yield "Validation on", [spec["validation_dataset_id"]]
    yield "Preset", spec["preset"]
    if spec["start_from"] is not None:
        yield "Starts from", [spec["start_from"]]
    yield from _recipe(job)


def _of_restoration(job: JobOut) -> Iterator[_Fact]:
    spec = job.spec
    yield "Restorer", [spec["model_id"]]
    if spec["dataset_id"] is None:
        yield "Images", str(len(spec["image_ids"]))
    else:
        yield "Data set", [spec["dataset_id"]]
    quality = "" if spec["quality"] is None else f", quality {spec['quality']}"
    yield "Files", f"{spec['format'].upper()}{quality}"


def _of_evaluation(job: JobOut) -> Iterator[_Fact]:
    spec = job.spec
    yield "Restorers", spec["model_ids"]
    yield "Data set", [spec["dataset_id"]]
    yield "Images", f"{spec['images']} at most"
    yield "Task", describe_task(spec["task"])
    yield "Metrics", ", ".join(spec["metrics"]) or "none"
    if spec["loss_ids"]:
        yield "Losses", spec["loss_ids"]


def _of_import(job: JobOut) -> Iterator[_Fact]:
    yield "Data set", [job.spec["dataset_id"]]


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
        yield "Changed in the recipe", told


def _names(session: Session, ids: Iterable[str], caller: Caller) -> dict[str, str]:
    """What things are called, by their ids; those that are deleted are not there."""
    by_prefix: dict[str, list[str]] = {}
    for each in ids:
        by_prefix.setdefault(each.partition("_")[0], []).append(each)
    names: dict[str, str] = {}
    for prefix, wanted in by_prefix.items():
        table, _ = _THINGS[prefix]
        query = select(table.id, table.name).where(table.id.in_(wanted), caller.sees(table.owner))
        names.update(row.tuple() for row in session.execute(query))
    return names


def _draw_links(ids: Sequence[str], names: Mapping[str, str]) -> None:
    for each in ids:
        prefix, _, rest = each.partition("_")
        brief = f"{prefix}_…{rest[-8:]}"
        if each in names:
            _, place = _THINGS[prefix]
            link(names[each] or brief, f"{place}{each}").props["title"] = each
        else:
            text("span", f"{brief}, deleted", classes="quiet").props["title"] = each
