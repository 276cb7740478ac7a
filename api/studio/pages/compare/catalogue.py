"""All comparisons, those that are under way, and a form for another one."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Annotated, Any

from fastapi import Query
from nicegui import ui
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.routers.jobs import described
from api.schemas import EvaluationOut, JobOut
from api.studio.elements.forms import field, form, ticks
from api.studio.elements.jobs import ProgressBar, StateBadge, name_of
from api.studio.elements.pipeline import PipelineBuilder
from api.studio.elements.times import moment
from api.studio.frame import empty, heading, link, page, panel, style, text
from api.studio.pages.restorers import words
from api.studio.visitor import Visitor
from api.studio.wording import count
from services.access import Caller
from services.cards import task_in_words
from services.database.schema import Dataset, Job, Loss, Model
from services.datasets import catalogue as datasets
from services.errors import BadInputError
from services.evaluation import catalogue
from services.evaluation.spec import MAX_IMAGES, METRIC_NAMES, SMALLEST_SIDES, Evaluation
from services.jobs import submission
from services.jobs.lifecycle import State
from services.losses import catalogue as losses
from services.names import cleaned
from services.restorers import catalogue as models

Json = dict[str, Any]
Take = Callable[[str], None]

_ASK_EVERY = 1.0  # seconds, how far comparisons are
_LISTED = 100
_FIRST_METRICS = ("psnr", "ssim")
_LARGE = 100  # px: not every image is so large
_LABELS = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "iw_ssim": "IW-SSIM",
    "gmsd": "GMSD",
    "fsim": "FSIM",
    "fsimc": "FSIMc",
    "l1": "L1",
    "l2": "L2",
    "lpips": "LPIPS",
}
_VALUE = "(event) => emit(event.target.value)"
# What is not over, or went wrong and should be seen.
_TOLD = (State.QUEUED, State.RUNNING, State.PAUSING, State.PAUSED, State.CANCELING, State.FAILED)


@page("/compare", title="Compare")
async def show(
    visitor: Visitor,
    cursor: str | None = None,
    model: Annotated[tuple[str, ...], Query()] = (),
    dataset: str = "",
) -> None:
    """The page; `model` and `dataset` are chosen in the form to begin with."""
    style("compare")
    heading("Compare", lead="Restorers, and what they were trained with, by measurement.")
    await _UnderWay(visitor).draw()
    await _draw_list(visitor, cursor)
    if visitor.may_write:
        with panel("New comparison"):
            await _offer(visitor, model, dataset)


async def _draw_list(visitor: Visitor, cursor: str | None) -> None:
    found = await visitor.read(
        lambda session, caller: catalogue.list_evaluations(session, caller, cursor=cursor)
    )
    if not found.items:
        if cursor is None:
            empty("Nothing was compared yet: choose restorers and a data set below.")
        return
    with panel("Comparisons"):
        around = ui.element("div").classes("scroll").props("tabindex=0 role=region")
        around.props["aria-label"] = "Comparisons"
        with around, ui.element("table").classes("plain-table"):
            with ui.element("thead"), ui.element("tr"):
                for title in ("Name", "Task", "Data set", "Restorers", "Images", "Made"):
                    text("th", title).props("scope=col")
            with ui.element("tbody"):
                for row in found.items:
                    _draw_row(EvaluationOut.of(row))
        if found.next_cursor is not None:
            link("Older ones", f"/compare?cursor={found.next_cursor}")


def _draw_row(evaluation: EvaluationOut) -> None:
    models_of_it = count(len(evaluation.model_ids), "restorer")
    with ui.element("tr"):
        with text("td", ""):
            link(evaluation.name or f"Comparison of {models_of_it}", f"/compare/{evaluation.id}")
        text("td", words.task(evaluation.task))
        text("td", evaluation.dataset.name)
        text("td", str(len(evaluation.model_ids)))
        text("td", str(evaluation.dataset.images))
        with text("td", ""):
            moment(evaluation.created)


class _UnderWay:
    """Comparisons that wait or run, and those that failed, live."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor
        self._shown: dict[str, tuple[StateBadge, ProgressBar]] = {}

    async def draw(self) -> None:
        """The panel, if there are any."""
        jobs = await self._jobs()
        if not jobs:
            return
        with panel("Under way"):
            for job in jobs:
                with ui.element("div").classes("compare-under-way"):
                    link(name_of(job), f"/runs/{job.id}")
                    badge = StateBadge(job.state)
                    self._shown[job.id] = badge, ProgressBar(job)
                    if job.error is not None:
                        text("p", job.error.message, classes="problem")
        if any(job.state != State.FAILED for job in jobs):
            ui.timer(_ASK_EVERY, self._ask)

    async def _ask(self) -> None:
        jobs = {job.id: job for job in await self._jobs()}
        if jobs.keys() != self._shown.keys() or any(
            job.state == State.FAILED and self._shown[job_id][0].text != State.FAILED
            for job_id, job in jobs.items()
        ):
            ui.navigate.reload()  # there is a result, or another comparison
            return
        for job_id, job in jobs.items():
            badge, bar = self._shown[job_id]
            badge.show(job.state)
            bar.show(job)

    async def _jobs(self) -> list[JobOut]:
        def ask(session: Session, caller: Caller) -> list[JobOut]:
            mine = caller.sees(Job.owner), Job.type == "evaluation", Job.state.in_(_TOLD)
            query = select(Job).where(*mine).order_by(Job.id.desc()).limit(_LISTED)
            return described(session, session.scalars(query).all(), self._visitor.runtime)

        return await self._visitor.read(ask)


async def _offer(visitor: Visitor, chosen: tuple[str, ...], dataset: str) -> None:
    def ask(session: Session, caller: Caller) -> tuple[list[Model], list[Dataset], list[Loss]]:
        found = datasets.list_datasets(session, caller, limit=_LISTED).items
        return (
            models.list_models(session, caller, limit=_LISTED).items,
            [each for each in found if each.ready is not None],
            losses.list_losses(session, caller, limit=_LISTED).items,
        )

    known, ready, trained = await visitor.read(ask)
    if not known:
        empty(
            "It takes restorers to compare, at least one.",
            action="Train a restorer",
            to="/restorers/train",
        )
    elif not ready:
        empty("It takes images to compare on.", action="Upload a data set", to="/datasets")
    else:
        _Form(visitor, known).draw(ready, trained, chosen, dataset)


class _Form:
    """What to compare, on what, by what."""

    def __init__(self, visitor: Visitor, known: list[Model]) -> None:
        self._visitor = visitor
        self._known = known
        self._tasks: Json = {}
        for each in known:
            if task := each.manifest["task"]:
                self._tasks.setdefault(words.task(task), task)
        self._task: Json | None = None

    def draw(
        self, ready: list[Dataset], trained: list[Loss], chosen: tuple[str, ...], dataset: str
    ) -> None:
        """The fields, with those models and that data set chosen to begin with."""
        with form(self._submit, does="Compare", classes="compare-form"):
            options = {each.id: _describe_model(each) for each in self._known}
            ticks("Restorers", options, ticked=frozenset(chosen))
            with ui.element("div").classes("compare-fields"):
                sets = {each.id: f"{each.name} ({count(each.images, 'image')})" for each in ready}
                _select("dataset_id", "Data set", sets, dataset)
                field(
                    "images",
                    "At most so many images",
                    value="100",
                    type="number",
                    min=1,
                    max=MAX_IMAGES,
                    required=True,
                )
                own = {"": "What the restorers were trained for"}
                tasks = own | {each: each for each in self._tasks} | {"other": "Something else"}
                _select("task", "Degradation", tasks, "", self._take_task)
                field("name", "Name", maxlength=200)
            self._builder = ui.element("div")
            metrics: dict[str, str] = {name: self._describe_metric(name) for name in METRIC_NAMES}
            ticks("Metrics", metrics, ticked=frozenset(_FIRST_METRICS))
            if trained:
                options = {each.id: _describe_loss(each) for each in trained}
                ticks("MDF losses, as metrics", options, ticked=frozenset())

    def _describe_metric(self, name: str) -> str:
        said = _LABELS[name]
        if SMALLEST_SIDES[name] > _LARGE:
            said += f" (images from {SMALLEST_SIDES[name]} px)"
        if name == "lpips" and not self._has_perceptual_weights():
            said += " (needs weights: the extra `perceptual`, or MDF_PERCEPTUAL_WEIGHTS)"
        return said

    def _take_task(self, choice: str) -> None:
        self._builder.clear()
        self._task = self._tasks.get(choice)
        if choice == "other":
            self._task = next(iter(self._tasks.values()), {"kind": "jpeg", "quality": [10, 10]})
            with self._builder:
                PipelineBuilder(self._task, lambda task: setattr(self, "_task", task))

    async def _submit(self, values: Mapping[str, str]) -> None:
        spec = self._evaluation(values)
        job = await self._visitor.write(partial(self._accept, spec, cleaned(values["name"])))
        await self._visitor.runtime.announcements.announce(job.id, job.type)
        ui.navigate.to("/compare")

    def _evaluation(self, values: Mapping[str, str]) -> Evaluation:
        chosen = [name for name, value in values.items() if value == "yes"]
        models_of_it = [name for name in chosen if name.startswith("model_")]
        if not models_of_it:
            raise BadInputError("choose the restorers to compare, one or more")
        try:
            return Evaluation.model_validate(
                {
                    "model_ids": models_of_it,
                    "dataset_id": values["dataset_id"],
                    "images": int(values["images"]),
                    "task": self._task,
                    "metrics": [name for name in chosen if name in METRIC_NAMES],
                    "loss_ids": [name for name in chosen if name.startswith("loss_")],
                }
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise BadInputError(str(first["msg"]).removeprefix("Value error, ")) from None

    def _accept(self, spec: Evaluation, name: str, session: Session, caller: Caller) -> Job:
        self._visitor.runtime.installation.blobs.check_free()
        return submission.submit(session, spec, caller=caller, name=name)

    def _has_perceptual_weights(self) -> bool:
        settings = self._visitor.runtime.installation.settings
        return settings.perceptual_weights is not None or find_spec("torchvision") is not None


def _describe_model(row: Model) -> str:
    manifest = row.manifest
    facts = [words.network(manifest["network"])]
    facts += [words.loss(manifest["loss"])] if manifest["loss"] else []
    facts += [task_in_words(manifest["task"]) if manifest["task"] else "task unknown"]
    return f"{row.name or row.id}: {', '.join(facts)}"


def _describe_loss(row: Loss) -> str:
    return f"{row.name or row.id}: {task_in_words(row.manifest['task'])}"


def _select(
    name: str, label: str, options: Mapping[str, str], chosen: str, act: Take | None = None
) -> None:
    with ui.element("div").classes("field"):
        said = text("label", label)
        entry = ui.element("select").classes("text")
        entry.props["name"] = name
        said.props["for"] = entry.html_id
        with entry:
            for value, meaning in options.items():
                option = text("option", meaning)
                option.props["value"] = value
                if value == chosen:
                    option.props["selected"] = True
        if act is not None:
            entry.on("change", lambda event: act(event.args), js_handler=_VALUE)
