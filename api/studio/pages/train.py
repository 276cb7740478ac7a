"""Train: from a seed and a task to the training of a loss."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, get_args
from urllib.parse import urlencode

from fastapi import Query
from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.schemas import DiscriminatorTrainingIn, JobOut
from api.studio.elements.forecast import Forecast, time_of
from api.studio.elements.ids import code
from api.studio.elements.pipeline import PipelineBuilder, read_task
from api.studio.elements.schema_form import SchemaForm, label
from api.studio.elements.thumbnails import thumbnail
from api.studio.elements.times import moment
from api.studio.elements.upload import DropZone
from api.studio.frame import (
    button,
    heading,
    link,
    page,
    panel,
    problem_line,
    style,
    telling,
    text,
)
from api.studio.pages.runs.commands import Asked, command, curl
from api.studio.visitor import Visitor
from api.studio.wording import count
from mdf.commands.terminal import describe_task
from services.access import Caller
from services.database.schema import Image, Job
from services.errors import BadInputError
from services.estimates import forecast
from services.estimates.forecast import Estimate
from services.images import catalogue
from services.jobs import repeats, results, submission
from services.jobs.admission import admit
from services.phase1.recipe import PRESETS, Preset, Recipe, check_seed_size, resolve

_LISTED = 24  # images of the library
_THUMBNAIL = 96  # px
_VALUE = "(event) => emit(event.target.value)"
_CHECKED = "(event) => emit(event.target.checked)"
# A time without a zone is that of whoever looks.
_MOMENT = "(event) => emit(event.target.value && new Date(event.target.value).toISOString())"

# What the presets are, for those who have not read the paper.
_PRESETS: Mapping[Preset, tuple[str, str]] = {
    "quick": ("Quick", "A try: small networks and images, few iterations. Good enough to look at."),
    "paper": ("Paper", "As in the paper: eight scales of 3000 iterations. For a GPU."),
    "published": (
        "Published",
        "As the authors' code: trained as in the paper, compares three features of each scale.",
    ),
}
# What may make a seed large enough for its pyramid, in the order in which it is offered.
_WAYS_OUT: Sequence[tuple[str, Mapping[str, Any]]] = (
    ("Use factor auto", {"factor": "auto"}),
    ("Use the seed in full size", {"max_size": None}),
    ("Use padding same", {"padding": "same"}),
    ("Use factor auto and the full size", {"factor": "auto", "max_size": None}),
    ("Use factor auto and padding same", {"factor": "auto", "padding": "same", "min_size": 11}),
)


@page("/train", title="Train")
async def show(
    visitor: Visitor,
    *,
    image: Annotated[list[str] | None, Query()] = None,
    task: str | None = None,
    preset: Preset = "quick",
    recipe: str = "",
    name: str = "",
    priority: int = 0,
    deadline: datetime | None = None,
) -> None:
    """The page."""
    style("train")
    heading(
        "Train",
        lead="A loss is learnt from a seed image and the distortion that a network is to undo.",
    )
    chosen = _Choice(
        images=list(image or ()),
        task=read_task(task) or {"kind": "jpeg", "quality": [7, 10]},
        preset=preset,
        recipe=_read_recipe(preset, recipe),
        name=name,
        priority=min(100, max(-100, priority)),
        deadline=_in_utc(deadline),
    )
    await _TrainPage(visitor, chosen).draw()


@dataclass
class _Choice:
    """What is chosen; the address says so too."""

    images: list[str]
    task: dict[str, Any]
    preset: Preset
    recipe: dict[str, Any]  # what differs from the preset
    name: str = ""
    priority: int = 0
    deadline: datetime | None = None

    @property
    def address(self) -> str:
        """The page with these choices."""
        asked: dict[str, Any] = {"image": self.images, "task": json.dumps(self.task)}
        asked["preset"] = self.preset
        if self.recipe:
            asked["recipe"] = json.dumps(self.recipe)
        if self.name:
            asked["name"] = self.name
        if self.priority:
            asked["priority"] = self.priority
        if self.deadline is not None:
            asked["deadline"] = self.deadline.isoformat()
        return f"/train?{urlencode(asked, doseq=True)}"

    def job(self, *, preset: Preset | None = None) -> DiscriminatorTrainingIn:
        """What would be submitted; with another preset, that with the same changes.

        Raises: pydantic's ValidationError for what cannot be.
        """
        return DiscriminatorTrainingIn.model_validate(
            {
                "type": "discriminator_training",
                "seed_image_ids": self.images,
                "task": self.task,
                "preset": preset or self.preset,
                "recipe": self.recipe,
                "name": self.name,
                "priority": self.priority,
                "deadline": None if self.deadline is None else self.deadline.isoformat(),
            }
        )


@dataclass(frozen=True)
class _Prospect:
    """What would come of the choice, as the database has it."""

    estimate: Estimate | None = None
    problem: str = ""
    before: JobOut | None = None  # the same, trained before
    stored: dict[str, Any] | None = None  # the spec as it would be stored
    times: Mapping[Preset, str] = field(default_factory=dict)


class _TrainPage:
    """The form, and beside it what would come of it."""

    def __init__(self, visitor: Visitor, chosen: _Choice) -> None:
        self._visitor = visitor
        self._chosen = chosen
        self._images: dict[str, Image] = {}
        self._asked = 0

    async def draw(self) -> None:
        """All of it."""
        await self._read_images()
        if not self._chosen.images and len(self._images) == 1:  # of several, the newest may be any
            self._chosen.images = list(self._images)
        with ui.element("div").classes("train"):
            with ui.element("div").classes("train-form"):
                self._draw_seeds()
                with panel("Task"):
                    text("p", "What a network trained with the loss is to undo.", classes="quiet")
                    PipelineBuilder(self._chosen.task, self._take_task)
                self._draw_presets()
                self._draw_recipe()
                self._draw_rest()
            with ui.element("div").classes("train-end"):
                self._draw_end()
        await self._foresee()

    # The parts of the form.

    def _draw_seeds(self) -> None:
        with panel("Seed"):
            if self._visitor.may_write:
                DropZone(on_done=self._take_upload)
            self._library = ui.element("ul").classes("train-library")
            self._library.props["aria-label"] = "Images to choose seeds from"
            self._draw_library()
            self._seed_words = text("p", "", classes="quiet").props("role=status")
            self._advice = ui.element("div").classes("note train-advice").props("role=alert")

    def _draw_library(self) -> None:
        self._library.clear()
        with self._library:
            for image in self._images.values():
                with ui.element("li"), ui.element("label").classes("train-choice"):
                    box = ui.element("input").props("type=checkbox")
                    box.props["checked"] = image.id in self._chosen.images
                    box.on("change", partial(self._take_seed, image.id, box), js_handler=_CHECKED)
                    with ui.element("span").classes("train-thumbnail"):
                        thumbnail(image, side=_THUMBNAIL)
                    text("span", image.name, classes="train-name")
                    text("span", f"{image.width}×{image.height} px", classes="quiet number")

    def _draw_presets(self) -> None:
        self._times = {}
        with panel("Preset"), ui.element("div").classes("train-presets") as cards:
            cards.props["role"] = "radiogroup"
            cards.props["aria-label"] = "Preset"
            for preset, (title, words) in _PRESETS.items():
                with ui.element("label").classes("train-preset"):
                    with ui.element("span").classes("row"):
                        radio = ui.element("input").props("type=radio name=preset")
                        radio.props["value"] = preset
                        radio.props["checked"] = preset == self._chosen.preset
                        radio.on("change", partial(self._take_preset, preset), args=[])
                        text("strong", title)
                    text("span", words, classes="help")
                    self._times[preset] = text("span", " ", classes="number train-time")

    def _draw_recipe(self) -> None:
        with ui.element("details").classes("panel train-recipe") as self._recipe_part:
            self._recipe_part.props["id"] = "recipe"
            self._recipe_words = text("summary", "")
            with ui.element("div").classes("row"):
                text(
                    "p",
                    "Every hyperparameter; what is not changed is the preset's.",
                    classes="quiet",
                )
                self._undo = button("Put all back", self._put_all_back)
            self._form = SchemaForm(
                Recipe,
                given=self._chosen.recipe,
                defaults=PRESETS[self._chosen.preset].model_dump(mode="json"),
                on_change=self._take_recipe,
            )

    def _draw_rest(self) -> None:
        chosen = self._chosen
        with panel("Name and place in line"), ui.element("div").classes("train-rest"):
            with _field("train-name", "Name", "of the job and the loss"):
                named = ui.element("input").classes("text").props("id=train-name maxlength=200")
                named.props["^value"] = chosen.name
                named.props["placeholder"] = "such as cat, JPEG"
                named.on("input", lambda event: self._take_name(event.args), js_handler=_VALUE)
            with _field("train-priority", "Priority", "−100 to 100; higher runs earlier"):
                rank = ui.element("input").classes("text number").props("id=train-priority")
                rank.props("type=number min=-100 max=100 step=1")
                rank.props["^value"] = chosen.priority
                rank.on("change", lambda event: self._take_priority(event.args), js_handler=_VALUE)
            with _field("train-deadline", "Deadline", "ends the job if it is not done by then"):
                until = ui.element("input").classes("text").props("id=train-deadline")
                until.props("type=datetime-local")
                until.on(
                    "change", lambda event: self._take_deadline(event.args), js_handler=_MOMENT
                )
        if chosen.deadline is not None:
            ui.run_javascript(_show_moment(chosen.deadline))

    def _draw_end(self) -> None:
        with panel("What it will take"):
            self._forecast = Forecast()
            self._before = ui.element("div").classes("train-before").props("role=status")
            self._problem = problem_line()
            self._go: TextElement | None = None
            if self._visitor.may_write:
                self._go = button("Train", self._submit, classes="button train-go")
            else:
                text("p", "This API key may look, and not train.", classes="note")
            with ui.element("details").classes("train-same"):
                text("summary", "The same by command line and REST")
                self._same = ui.element("div").classes("train-calls")

    # What is chosen there.

    async def _take_seed(self, image_id: str, box: ui.element, event: Any) -> None:
        box.props["checked"] = event.args
        images = [each for each in self._chosen.images if each != image_id]
        self._chosen.images = [*images, image_id] if event.args else images
        await self._keep()

    async def _take_upload(self, made: dict[str, Any]) -> None:
        image_id = made["id"]
        if image_id not in self._chosen.images:
            self._chosen.images.append(image_id)
        await self._read_images()
        self._draw_library()
        await self._keep()

    async def _take_task(self, task: dict[str, Any]) -> None:
        self._chosen.task = task
        await self._keep()

    async def _take_preset(self, preset: Preset) -> None:
        self._chosen.preset = preset
        self._form.reset(
            given=_differing(preset, self._chosen.recipe),
            defaults=PRESETS[preset].model_dump(mode="json"),
        )
        self._chosen.recipe = self._form.given
        await self._keep()

    async def _take_recipe(self, given: dict[str, Any]) -> None:
        self._chosen.recipe = given
        await self._keep()

    async def _change_recipe(self, changes: Mapping[str, Any]) -> None:
        """Change these hyperparameters, as if in the form."""
        self._form.reset(given=_differing(self._chosen.preset, {**self._chosen.recipe, **changes}))
        await self._take_recipe(self._form.given)

    async def _put_all_back(self) -> None:
        self._form.reset(given={})
        await self._take_recipe({})

    async def _take_name(self, name: str) -> None:
        self._chosen.name = name
        await self._keep()

    async def _take_priority(self, written: str) -> None:
        self._chosen.priority = int(written) if written.lstrip("-").isdecimal() else 0
        await self._keep()

    async def _take_deadline(self, written: str) -> None:
        self._chosen.deadline = datetime.fromisoformat(written) if written else None
        await self._keep()

    async def _keep(self) -> None:
        """In the address, so that a reload has it all; and say what would come of it."""
        ui.navigate.history.replace(self._chosen.address)
        await self._foresee()

    # What would come of it.

    async def _foresee(self) -> None:
        self._asked += 1
        asked = self._asked
        prospect = await self._visitor.read(partial(_look_ahead, self._chosen))
        if asked != self._asked:  # something else is chosen by now
            return
        self._tell_seeds()
        self._tell_recipe()
        self._forecast.show(prospect.estimate)
        for preset, words in self._times.items():
            words.set_text(prospect.times.get(preset, " "))
        self._problem.set_text(self._wanting() or prospect.problem)
        if self._go is not None:
            self._go.props["disabled"] = prospect.estimate is None
        self._tell_before(prospect.before)
        self._tell_calls(prospect.stored)

    def _wanting(self) -> str:
        """What has to be mended first, in a few words: more of it stands beside its cause."""
        if not self._chosen.images:
            return "Choose a seed first."
        if self._form.problems:
            return "The recipe has to be mended first."
        return "What helps stands beside the seed." if self._too_small() else ""

    def _tell_seeds(self) -> None:
        many = len(self._chosen.images)
        if not self._images:
            words = "There is no image yet: drop a photograph above."
        elif not many:
            words = "Choose the image to learn from."
        elif many == 1:
            words = f"Chosen: {self._images[self._chosen.images[0]].name}."
        else:
            words = f"{count(many, 'image')} are chosen: a pyramid is made of each."
        self._seed_words.set_text(words)
        problem = self._too_small()
        self._advice.set_visibility(bool(problem))
        self._advice.clear()
        with self._advice:
            if problem:
                text("p", problem)
                with ui.element("div").classes("row"):
                    for words, changes in self._ways_out():
                        button(words, partial(self._change_recipe, changes))

    def _tell_recipe(self) -> None:
        changed = [label(name).lower() for name in self._chosen.recipe]
        title = _PRESETS[self._chosen.preset][0].lower()
        words = f"Recipe: as the preset {title}"
        if changed:
            words += f", {len(changed)} changed: {', '.join(changed)}"
        if self._form.problems:
            words += f" · {count(len(self._form.problems), 'problem')} to mend"
            self._recipe_part.props["open"] = True
        self._recipe_words.set_text(words)
        self._undo.set_visibility(bool(changed))

    def _too_small(self) -> str:
        """Why the chosen seeds are too small for the recipe; "" if they are not."""
        return "" if self._form.problems else _too_small(self._recipe({}), self._seeds())

    def _ways_out(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Changes of the recipe that help, and of these none that holds another."""
        found: list[tuple[str, Mapping[str, Any]]] = []
        for words, changes in _WAYS_OUT:
            helped = not _too_small(self._recipe(changes), self._seeds())
            if helped and not any(other.items() <= changes.items() for _, other in found):
                found.append((words, changes))
        return found

    def _recipe(self, changes: Mapping[str, Any]) -> Recipe:
        return resolve(self._chosen.preset, {**self._chosen.recipe, **changes})

    def _seeds(self) -> list[Image]:
        return [self._images[each] for each in self._chosen.images]

    def _tell_before(self, before: JobOut | None) -> None:
        self._before.clear()
        if before is None:
            return
        with self._before:
            ended = before.finished is not None
            text("span", "The same was trained before," if ended else "The same is under way,")
            moment(before.finished or before.created)
            if before.loss_id is not None:
                link("Open its loss", f"/losses/{before.loss_id}")
            link("Open its run", f"/runs/{before.id}")

    def _tell_calls(self, stored: dict[str, Any] | None) -> None:
        self._same.clear()
        with self._same:
            if stored is None:
                text("p", "When there is something to train.", classes="quiet")
                return
            chosen = self._chosen
            job = Asked(
                "discriminator_training", stored, chosen.name, chosen.priority, chosen.deadline
            )
            address = str(ui.context.client.request.base_url).rstrip("/")
            typed = command(job, address)
            if typed is not None:
                text("h3", "Command line")
                code(typed, of="the command")
            call = curl(job, address, with_key=self._visitor.caller.key_id is not None)
            if call is not None:
                text("h3", "REST")
                code(call, of="the REST call")

    async def _submit(self) -> None:
        assert self._go is not None  # noqa: S101 - it was pressed
        self._go.props["disabled"] = True
        try:
            with telling(self._problem):
                job = await self._visitor.write(partial(self._accept, self._chosen.job()))
                await self._visitor.runtime.announcements.announce(job.id, job.type)
                ui.navigate.to(f"/runs/{job.id}")
        finally:
            self._go.props["disabled"] = False

    def _accept(self, wanted: DiscriminatorTrainingIn, session: Session, caller: Caller) -> Job:
        self._visitor.runtime.installation.blobs.check_free()
        return submission.submit(
            session,
            wanted.spec(),
            caller=caller,
            name=wanted.name or _title(self._seeds(), self._chosen.task),
            priority=wanted.priority,
            deadline=wanted.deadline,
        )

    async def _read_images(self) -> None:
        """The newest images, and those that are chosen; the address may name some that are gone."""

        def ask(session: Session, caller: Caller) -> list[Image]:
            wanted = select(Image).where(
                Image.id.in_(self._chosen.images), caller.sees(Image.owner)
            )
            newest = catalogue.list_images(session, caller, limit=_LISTED).items
            return [*newest, *session.scalars(wanted)]

        self._images = {image.id: image for image in await self._visitor.read(ask)}
        self._chosen.images = [each for each in self._chosen.images if each in self._images]


def _look_ahead(chosen: _Choice, session: Session, caller: Caller) -> _Prospect:
    """What would come of the choice, and how long each preset takes."""
    if not chosen.images:
        return _Prospect()
    times = {
        preset: _time_of_preset(chosen, preset, session, caller) for preset in get_args(Preset)
    }
    try:
        spec = chosen.job().spec()
        estimate = forecast.estimate(session, spec, caller)
        before = repeats.find(session, spec, caller)
        stored = admit(session, spec, caller)
    except ValidationError as error:
        faults = (fault["msg"].removeprefix("Value error, ") for fault in error.errors())
        return _Prospect(problem="; ".join(faults), times=times)
    except BadInputError as error:
        return _Prospect(problem=error.message, times=times)
    return _Prospect(
        estimate=estimate,
        before=None if before is None else _described(session, before),
        stored=stored,
        times=times,
    )


def _time_of_preset(chosen: _Choice, preset: Preset, session: Session, caller: Caller) -> str:
    try:
        estimate = forecast.estimate(session, chosen.job(preset=preset).spec(), caller)
    except ValidationError:
        return ""
    except BadInputError:
        return "Not on this seed: too small"
    if estimate.seconds is None:
        return "How long it takes here is not known yet"
    return f"Takes {time_of(estimate)} here"


def _described(session: Session, job: Job) -> JobOut:
    made = results.of_jobs(session, [job])[job.id]
    return JobOut.of(job, made=made, queue_position=None, eta_seconds=None, max_attempts=0)


def _too_small(recipe: Recipe, seeds: Sequence[Image]) -> str:
    for image in seeds:
        try:
            check_seed_size(recipe, image.width, image.height)
        except BadInputError as error:
            return f"{image.name}: {error.message}.".replace("`", "")
    return ""


def _in_utc(moment: datetime | None) -> datetime | None:
    try:
        return None if moment is None else moment.astimezone(UTC)
    except (OverflowError, ValueError):  # of the first year, or the last one
        raise BadInputError("the deadline in this page's address is none") from None


def _differing(preset: Preset, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What of it is not the preset's anyway."""
    defaults = PRESETS[preset].model_dump(mode="json")
    return {name: value for name, value in recipe.items() if value != defaults.get(name)}


def _read_recipe(preset: Preset, written: str) -> dict[str, Any]:
    """The changes in an address; those of unknown names are left out."""
    try:
        given = json.loads(written) if written else {}
    except (ValueError, RecursionError):
        return {}
    known = given if isinstance(given, dict) else {}
    return _differing(
        preset, {name: value for name, value in known.items() if name in Recipe.model_fields}
    )


def _title(seeds: Sequence[Image], task: Mapping[str, Any]) -> str:
    """What a training is called that nobody has named."""
    stem = seeds[0].name.rpartition(".")[0] or seeds[0].name
    return f"{stem}, {describe_task(task)}"[:200]


def _field(field_id: str, words: str, help_text: str) -> ui.element:
    """A labelled place; fill it with the field of that id."""
    place = ui.element("div").classes("field")
    with place:
        text("label", words).props["for"] = field_id
        text("span", help_text, classes="help")
    return place


def _show_moment(deadline: datetime) -> str:
    """Puts a moment into its field, in the zone of whoever looks."""
    return f"""
      const moment = new Date({deadline.isoformat()!r});
      moment.setMinutes(moment.getMinutes() - moment.getTimezoneOffset());
      document.getElementById("train-deadline").value = moment.toISOString().slice(0, 16);
    """
