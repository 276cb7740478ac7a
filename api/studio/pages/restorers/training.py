"""Training another restorer: on what, to undo what, which network, with which loss."""

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import Any, get_args
from urllib.parse import quote

from nicegui import ui
from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from api.studio.elements.forecast import Forecast
from api.studio.elements.pipeline import PipelineBuilder
from api.studio.elements.schema_form import SchemaForm, merged
from api.studio.frame import button, empty, heading, page, panel, problem_line, style, telling, text
from api.studio.pages.restorers import words
from api.studio.visitor import Visitor
from api.studio.wording import count
from mdf.commands.terminal import describe_task
from services.access import Caller
from services.database.schema import Dataset, Job, Loss
from services.datasets import catalogue as datasets
from services.errors import BadInputError
from services.estimates import forecast
from services.estimates.forecast import Estimate
from services.jobs import submission
from services.losses import catalogue as losses
from services.names import cleaned
from services.phase2.objective import AnyLoss, Single
from services.phase2.presets import PRESETS, PresetName
from services.phase2.recipe import RestorationTraining, resolve
from services.phase2.tasks import AnyTask, SuperResolution
from services.restorers.networks import AnyNetwork

Json = dict[str, Any]

FIRST_PRESET: PresetName = "quick-dncnn-denoising"
_LISTED = 100
_PERCEPTUAL = ("vgg", "lpips")
_SINGLES: dict[str, type[BaseModel]] = {
    each.model_fields["kind"].default: each for each in get_args(Single)
}
_PARTS = {
    "dataset_id": TypeAdapter[Any](str),
    "preset": TypeAdapter[Any](PresetName),
    "task": TypeAdapter[Any](AnyTask),
    "network": TypeAdapter[Any](AnyNetwork),
    "loss": TypeAdapter[Any](AnyLoss),
    "recipe": TypeAdapter[Any](dict[str, JsonValue]),
}
_spec = TypeAdapter[RestorationTraining](RestorationTraining)


class _NetworkForm(BaseModel):
    """The network, for a form of its fields."""

    model_config = ConfigDict(extra="forbid")

    network: AnyNetwork


@page("/restorers/train", title="Train a restorer", needs="write")
async def show(
    visitor: Visitor, dataset: str = "", loss: str = "", preset: str = "", spec: str = ""
) -> None:
    """The page; `spec` has what was chosen on it before."""
    style("restorers")
    heading("Train a restorer", lead="A network that undoes what damages images like yours.")

    def ask(session: Session, caller: Caller) -> tuple[list[Dataset], list[Loss]]:
        found = datasets.list_datasets(session, caller, limit=_LISTED)
        ready = [each for each in found.items if each.ready is not None]
        return ready, losses.list_losses(session, caller, limit=_LISTED).items

    ready, trained = await visitor.read(ask)
    if not ready:
        empty("It takes images to train on first.", action="Upload a data set", to="/datasets")
        return
    chosen = _read(spec)
    known = [each.id for each in ready]
    if chosen.get("dataset_id") not in known:
        chosen["dataset_id"] = dataset if dataset in known else known[0]
    chosen.setdefault("preset", preset if preset in PRESETS else FIRST_PRESET)
    if loss:
        chosen.setdefault("loss", {"kind": "mdf", "loss_id": loss})
    await _Form(visitor, chosen, ready, trained).check()


class _Form:
    """The form; `chosen` is the job's spec as far as it differs from the preset."""

    def __init__(
        self, visitor: Visitor, chosen: Json, ready: list[Dataset], trained: list[Loss]
    ) -> None:
        self._visitor = visitor
        self._chosen = chosen
        self._ready = {each.id: f"{each.name} ({count(each.images, 'image')})" for each in ready}
        self._trained = trained
        self._name = ""
        self._asked = 0
        with ui.element("div").classes("training-form"):
            with panel("Data and preset"):
                self._offer_data()
            self._parts()
        with panel("What it will take"):
            self._forecast = Forecast()
        with ui.element("div").classes("training-end"):
            self._problem = problem_line()
            with ui.element("div").classes("row"):
                self._go = button("Train", self._submit, classes="button")
                text("span", "Its run shows how it gets on.", classes="quiet")

    @property
    def _preset(self) -> Any:
        return PRESETS[self._chosen["preset"]]

    @ui.refreshable_method
    def _parts(self) -> None:
        """What a preset has, and may be replaced."""
        with panel("What it undoes"):
            self._offer_task()
            self._task_fields()
        with panel("Network"):
            self._offer_network()
        with panel("Loss"):
            self._offer_loss()
            self._loss_fields()
        with ui.element("details").classes("panel wide") as recipe:
            recipe.props["open"] = bool(self._chosen.get("recipe"))
            text("summary", "Recipe: batches, optimiser, schedule, validation")
            self._offer_recipe()

    def _offer_data(self) -> None:
        _select(
            "Data set", self._ready, self._chosen["dataset_id"], partial(self._set, "dataset_id")
        )
        presets: dict[str, str] = {name: _describe_preset(name) for name in PRESETS}
        _select("Preset", presets, self._chosen["preset"], self._take_preset)
        quick = "quick-… is for a try on a few processor cores; paper-… and zhao-… want a GPU."
        text("p", quick, classes="quiet")
        with ui.element("div").classes("field"):
            text("label", "Name").props("for=restorer-name")
            field = ui.element("input").classes("text").props("id=restorer-name maxlength=200")
            field.props["value"] = self._name
            field.on("change", lambda event: setattr(self, "_name", event.args), js_handler=_VALUE)

    def _offer_task(self) -> None:
        own = self._preset.task.model_dump(mode="json")
        given = self._chosen.get("task")
        options = {"": f"As the preset: {words.task(own)}", "other": "Something else"}
        _select("Degradation", options, "other" if given else "", partial(self._take_task, own))

    @ui.refreshable_method
    def _task_fields(self) -> None:
        given = self._chosen.get("task")
        if given is None:
            return
        if given["kind"] in ("denoising", "jpeg", "sisr", "custom"):
            PipelineBuilder(_plain_task(given), self._take_built_task)
        if given["kind"] == "sisr":
            usual = SuperResolution().model_dump(mode="json")
            SchemaForm(
                SuperResolution,
                given=_differing(given, usual),
                defaults=usual,
                on_change=lambda values: self._set("task", {**values, "kind": "sisr"}),
            )

    def _offer_network(self) -> None:
        async def take(values: Json) -> None:
            await self._set("network", merged(own, values)["network"] if values else None)

        own = {"network": self._preset.network.model_dump(mode="json")}
        differing = _differing(self._chosen.get("network", own["network"]), own["network"])
        SchemaForm(
            _NetworkForm,
            given={"network": differing} if differing else {},
            defaults=own,
            on_change=take,
        )

    def _offer_loss(self) -> None:
        own = self._preset.loss.model_dump(mode="json")
        options = {"": f"As the preset: {words.loss(own)}"}
        for row in self._trained:
            options[row.id] = f"MDF: {row.name or row.id}, {words.task(row.manifest['task'])}"
        for kind in _SINGLES:
            if kind != "mdf":
                options[kind] = words.LOSSES[kind]
        given = self._chosen.get("loss") or {}
        kind = given.get("kind", "")
        if kind in ("sum", "schedule"):  # of an address: nothing here makes one
            options[kind] = words.loss(given)
        _select("Loss", options, given.get("loss_id", kind), self._take_loss)

    @ui.refreshable_method
    def _loss_fields(self) -> None:
        given = self._chosen.get("loss") or {}
        kind = given.get("kind", "")
        if kind in _PERCEPTUAL and not self._has_perceptual_weights():
            text(
                "p",
                "It needs weights that are not here: install the extra `perceptual`, or set "
                "MDF_PERCEPTUAL_WEIGHTS to a folder that has them.",
                classes="note",
            )
        if kind in _SINGLES and len(_SINGLES[kind].model_fields) > 1 and kind != "mdf":
            usual = _SINGLES[kind]().model_dump(mode="json")
            SchemaForm(
                _SINGLES[kind],
                given=_differing(given, usual),
                defaults=usual,
                on_change=lambda values: self._set("loss", {**values, "kind": kind}),
            )

    def _offer_recipe(self) -> None:
        recipe = self._preset.recipe
        SchemaForm(
            type(recipe),
            given=self._chosen.get("recipe", {}),
            defaults=recipe.model_dump(mode="json"),
            on_change=partial(self._set, "recipe"),
        )

    async def _take_preset(self, name: str) -> None:
        # What was changed belongs to the preset that it was changed in; the loss is a choice of
        # its own.
        kept = ("dataset_id", "loss")
        self._chosen = {key: self._chosen[key] for key in kept if key in self._chosen}
        self._chosen["preset"] = name
        self._keep()
        self._parts.refresh()
        await self.check()

    async def _take_task(self, own: Json, choice: str) -> None:
        await self._set("task", own if choice else None)
        self._task_fields.refresh()

    async def _take_built_task(self, task: Json) -> None:
        before = self._chosen["task"]["kind"]
        await self._set("task", task)
        if "sisr" in (before, task["kind"]) and before != task["kind"]:
            self._task_fields.refresh()

    async def _take_loss(self, choice: str) -> None:
        if not choice:
            await self._set("loss", None)
        elif choice in _SINGLES:
            await self._set("loss", {"kind": choice})
        else:
            await self._set("loss", {"kind": "mdf", "loss_id": choice})
        self._loss_fields.refresh()

    async def _set(self, name: str, value: Any) -> None:
        if value:
            self._chosen[name] = value
        else:
            self._chosen.pop(name, None)
        self._keep()
        await self.check()

    def _keep(self) -> None:
        """In the address, so that a reload has it all."""
        ui.navigate.history.replace(f"/restorers/train?spec={quote(json.dumps(self._chosen))}")

    async def check(self) -> None:
        """Say what does not fit before it is submitted, and what it will take if it all does."""
        self._asked += 1
        asked = self._asked
        problem, estimate = "", None
        try:
            estimate = await self._visitor.read(partial(_foresee, self._training()))
        except BadInputError as error:
            problem = error.message
        if asked != self._asked:  # something else is chosen by now
            return
        self._forecast.show(estimate)
        self._problem.set_text(problem)
        if problem:
            self._go.props["disabled"] = True
        else:
            self._go.props.pop("disabled", None)

    def _training(self) -> RestorationTraining:
        parts = {key: value for key, value in self._chosen.items() if key != "dataset_id"}
        try:
            whole = _spec.validate_python({**parts, "dataset_id": self._chosen["dataset_id"]})
            resolve(
                whole.preset,
                task=whole.task,
                network=whole.network,
                loss=whole.loss,
                recipe=whole.recipe,
            )
        except ValidationError as error:
            raise BadInputError(_in_words(error)) from None
        return whole

    async def _submit(self) -> None:
        with telling(self._problem):
            training = self._training()
            name = cleaned(self._name) or _title(training)
            job = await self._visitor.write(partial(self._accept, training, name))
            await self._visitor.runtime.announcements.announce(job.id, job.type)
            ui.navigate.to(f"/runs/{job.id}")

    def _accept(
        self, training: RestorationTraining, name: str, session: Session, caller: Caller
    ) -> Job:
        self._visitor.runtime.installation.blobs.check_free()
        return submission.submit(session, training, caller=caller, name=name)

    def _has_perceptual_weights(self) -> bool:
        settings = self._visitor.runtime.installation.settings
        return settings.perceptual_weights is not None or find_spec("torchvision") is not None


def _foresee(training: RestorationTraining, session: Session, caller: Caller) -> Estimate:
    return forecast.estimate(session, training, caller)


_VALUE = "(event) => emit(event.target.value)"


def _select(label: str, options: Mapping[str, str], chosen: str, act: Any) -> None:
    with ui.element("div").classes("field"):
        field_id = f"choose-{label.lower().replace(' ', '-')}"
        text("label", label).props["for"] = field_id
        field = ui.element("select").classes("text")
        field.props["id"] = field_id
        with field:
            for value, words_of in options.items():
                option = text("option", words_of)
                option.props["value"] = value
                if value == chosen:
                    option.props["selected"] = True
        field.on("change", lambda event: act(event.args), js_handler=_VALUE)


def _read(spec: str) -> Json:
    """What the address has of the spec, as far as it can be drawn; its parts may be at odds."""
    try:
        given = json.loads(spec) if spec else {}
    except (ValueError, RecursionError):
        return {}
    chosen = {}
    for name, part in _PARTS.items():
        if isinstance(given, dict) and name in given:
            with suppress(ValidationError):
                chosen[name] = part.dump_python(part.validate_python(given[name]), mode="json")
    return chosen


def _differing(given: Json, usual: Json) -> Json:
    """What is other than usual; of another kind, all."""
    if given["kind"] != usual["kind"]:
        return dict(given)
    return {name: value for name, value in given.items() if usual.get(name) != value}


def _describe_preset(name: PresetName) -> str:
    preset = PRESETS[name]
    network = words.network(preset.network.model_dump(mode="json"))
    return f"{name}: {network}, {words.task(preset.task.model_dump(mode='json'))}"


def _title(training: RestorationTraining) -> str:
    """What a restorer is called that nobody has named: `DnCNN, MDF, jpeg, quality 10`."""
    plan = training.resolved()
    parts = (
        words.network(plan.network.model_dump(mode="json")),
        words.loss(plan.loss.model_dump(mode="json")),
        describe_task(plan.task.model_dump(mode="json")),
    )
    return ", ".join(parts)[:200]


def _plain_task(task: Json) -> Json:
    """As the builder has it, which leaves the fields of super-resolution to a form."""
    return {"kind": "sisr"} if task["kind"] == "sisr" else task


def _in_words(error: ValidationError) -> str:
    first = error.errors()[0]
    return str(first["msg"]).removeprefix("Value error, ")
