"""Restore: images through one model or several, looked at side by side, and measured."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import urlencode

import anyio
from fastapi import Query
from nicegui import ui
from sqlalchemy.orm import Session

from api.downloads import read_image
from api.studio.elements.image_viewer import ImageViewer, Mode, Source
from api.studio.elements.restoring import Progress, Restoring, Result, Wanted
from api.studio.elements.thumbnails import thumbnail
from api.studio.elements.upload import DropZone
from api.studio.frame import (
    button,
    empty,
    heading,
    link,
    page,
    panel,
    problem_line,
    style,
    telling,
    text,
)
from api.studio.pages.restorers import words
from api.studio.visitor import Visitor
from services.access import Caller
from services.database.schema import Image, Job, Model
from services.errors import NotFoundError
from services.images import catalogue as images
from services.jobs import submission
from services.restoration import trial
from services.restoration.spec import Restoration
from services.restorers import catalogue as models

_LISTED = 50
_MOST = 50  # images at a time
_MOST_JOBS = 500
_LONGEST_ANSWER = 10_000  # letters
_THUMBNAIL = 72  # px
_STEM = 180  # letters of a name that something is added to

Ids = Annotated[list[str], Query()]


@dataclass(frozen=True)
class _Item:
    """An image to restore, and what it should become, if that is known."""

    image: Image
    reference: Image | None = None


@dataclass
class _State:
    """What was chosen, as the address has it, and what has come of it so far."""

    models: list[Model]
    items: list[_Item]
    look: int = 0
    jobs: dict[tuple[str, str], str] = field(default_factory=dict)  # by image and model
    results: dict[str, Result] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def current(self) -> _Item | None:
        """The item that is looked at."""
        return self.items[min(self.look, len(self.items) - 1)] if self.items else None

    def address(self) -> str:
        """The page's, by which a reload finds all of it again."""
        query = [("model", each.id) for each in self.models]
        query += [("image", each.image.id) for each in self.items]
        query += [
            ("reference", f"{each.image.id}:{each.reference.id}")
            for each in self.items
            if each.reference is not None
        ]
        query += [("job", ":".join((*pair, job))) for pair, job in self.jobs.items()]
        if self.look:
            query.append(("look", str(self.look)))
        return f"/restore?{urlencode(query)}" if query else "/restore"

    def wanted(self) -> Iterator[Wanted]:
        """What is to be done, that which is looked at first."""
        current = self.current
        others = [each for each in self.items if each is not current]
        for item in ([current] if current is not None else []) + others:
            if not self.models:
                continue
            for model in [None, *self.models]:
                yield Wanted(
                    key=_key(item, model),
                    image=item.image.id,
                    model=None if model is None else model.id,
                    reference=None if item.reference is None else item.reference.id,
                    job=None if model is None else self.jobs.get((item.image.id, model.id)),
                )


@page("/restore", title="Restore", needs="write")
async def show(
    visitor: Visitor,
    *,
    model: Ids = [],  # noqa: B006 - FastAPI's default
    image: Ids = [],  # noqa: B006
    reference: Ids = [],  # noqa: B006
    job: Ids = [],  # noqa: B006
    look: int = 0,
) -> None:
    """The page."""
    style("restore")
    heading("Restore", lead="Images through a restorer, or several, and what it makes of them.")

    def ask(session: Session, caller: Caller) -> tuple[list[Model], list[Image], _State]:
        known = models.list_models(session, caller, limit=_LISTED).items
        stored = images.list_images(session, caller, limit=_LISTED).items
        against = dict(each.split(":", 1) for each in reference if ":" in each)
        given = [_image(session, each, caller) for each in dict.fromkeys(image[:_MOST])]
        items = [
            _Item(each, _image(session, against.get(each.id), caller))
            for each in given
            if each is not None
        ]
        named = [_model(session, each, caller, known) for each in dict.fromkeys(model[:_MOST])]
        chosen = [each for each in named if each is not None]
        begun = [each.split(":") for each in job[:_MOST_JOBS] if each.count(":") == 2]
        jobs = {(of, by): made for of, by, made in begun}
        return known, stored, _State(chosen, items, max(0, look), jobs)

    known, stored, state = await visitor.read(ask)
    if not known:
        empty(
            "It takes a restorer first: a network that was trained to undo some damage.",
            action="Train a restorer",
            to="/restorers/train",
        )
        return
    _Desk(visitor, known + [each for each in state.models if each not in known], stored, state)


class _Desk:
    """The page's parts, and what happens between them."""

    def __init__(
        self, visitor: Visitor, known: Sequence[Model], stored: Sequence[Image], state: _State
    ) -> None:
        self._visitor = visitor
        self._known = known
        self._stored = {each.id: each for each in stored}
        for each in state.items:
            self._stored |= {
                found.id: found for found in (each.image, each.reference) if found is not None
            }
        self._state = state
        self._asked: set[str] = set()  # keys
        with ui.element("div").classes("columns"):
            with panel("Images"):
                self._offer_images()
            with panel("Restorers"):
                self._offer_models()
        with panel("Results", classes="restore-results"):
            self._strip()
            self._advice = text("p", "", classes="quiet")
            self._viewer = ImageViewer(
                [], mode=self._mode, height="min(62vh, 640px)", title="Input and results"
            )
            self._table()
            self._tools()
        self._restoring = Restoring(
            on_progress=self._take_progress,
            on_result=self._take_result,
            on_problem=self._take_problem,
        )
        self._update()

    @property
    def _mode(self) -> Mode:
        """How to begin to compare."""
        return "side-by-side" if len(self._state.models) > 1 else "slider"

    # What is chosen

    def _offer_images(self) -> None:
        DropZone(
            multiple=True,
            label="Drop images here, or choose them",
            on_done=self._take_upload,
        )
        with ui.element("div").classes("field"):
            text("label", "Or one that is stored").props("for=stored-image")
            choice = ui.element("select").props("id=stored-image").classes("text")
            with choice:
                text("option", "Choose …").props("value=")
                for each in self._stored.values():
                    option = text("option", f"{each.name}, {each.width} × {each.height} px")
                    option.props["value"] = each.id
            choice.on("change", lambda event: self._add(event.args), js_handler=_TAKE)

    def _offer_models(self) -> None:
        chosen = {each.id for each in self._state.models}
        with ui.element("ul").classes("restore-models"):
            for each in self._known:
                with ui.element("li"), ui.element("label"):
                    box = ui.element("input").props("type=checkbox")
                    box.props["value"] = each.id
                    if each.id in chosen:
                        box.props["checked"] = True
                    box.on("change", partial(self._take_model, each), js_handler=_CHECKED)
                    with ui.element("span"):
                        text("span", each.name or each.id)
                        text("span", words.task(each.manifest["task"]), classes="quiet")

    async def _take_upload(self, answer: dict[str, Any]) -> None:
        await self._take_stored(answer["id"])

    async def _add(self, image_id: str) -> None:
        if image_id:
            await self._take_stored(image_id)

    async def _take_stored(self, image_id: str) -> None:
        found = await self._visitor.read(
            lambda session, caller: images.get(session, image_id, caller)
        )
        self._stored[found.id] = found
        known = [each.image.id for each in self._state.items]
        if found.id in known:
            self._state.look = known.index(found.id)
        elif len(known) < _MOST:
            self._state.items.append(_Item(found))
            self._state.look = len(known)
        self._update()

    def _take_model(self, model: Model, event: Any) -> None:
        others = [each for each in self._state.models if each.id != model.id]
        self._state.models = [*others, model] if event.args else others
        self._viewer.set_mode(self._mode)
        self._update()

    def _look_at(self, place: int) -> None:
        self._state.look = place
        for at, pick in enumerate(self._picks):  # in place: the focus stays where it is
            pick.props["aria-pressed"] = str(at == place).lower()
        self._update(strip=False)

    def _remove(self, place: int) -> None:
        del self._state.items[place]
        self._state.look = max(0, min(self._state.look, len(self._state.items) - 1))
        self._update()

    def _take_reference(self, reference_id: str) -> None:
        place = self._state.look
        item = self._state.items[place]
        self._state.items[place] = replace(item, reference=self._stored.get(reference_id))
        self._update()

    # What comes of it

    def _is_answer(self, key: str, told: object) -> bool:
        """Whether a browser tells of what it was asked for, in as many words as that takes."""
        return key in self._asked and len(json.dumps(told)) <= _LONGEST_ANSWER

    def _take_progress(self, progress: Progress) -> None:
        if not self._is_answer(progress["key"], progress):
            return
        self._state.progress[progress["key"]] = progress
        self._state.problems.pop(progress["key"], None)
        if "job" in progress:
            image_id, model_id, _ = progress["key"].split("/")
            self._state.jobs[image_id, model_id] = progress["job"]
            ui.navigate.history.replace(self._state.address())
        self._table.refresh()

    def _take_result(self, result: Result) -> None:
        if not self._is_answer(result["key"], result):
            return
        self._state.results[result["key"]] = result
        self._state.progress.pop(result["key"], None)
        self._show_current()
        self._table.refresh()

    def _take_problem(self, key: str, detail: str) -> None:
        if not self._is_answer(key, detail):
            return
        self._state.problems[key] = detail
        self._state.progress.pop(key, None)
        self._table.refresh()

    def _update(self, *, strip: bool = True) -> None:
        ui.navigate.history.replace(self._state.address())
        wanted = list(self._state.wanted())
        self._asked |= {each["key"] for each in wanted}
        self._restoring.want(wanted)
        if strip:
            self._strip.refresh()
        self._table.refresh()
        self._tools.refresh()
        self._show_current()

    def _show_current(self) -> None:
        current, state = self._state.current, self._state
        if current is None:
            advice = "Choose an image above, and a restorer."
        elif not state.models:
            advice = "Choose a restorer above."
        else:
            advice = ""
        self._advice.set_text(advice)
        self._advice.set_visibility(bool(advice))
        self._viewer.set_visibility(current is not None)
        if current is None:
            return
        sources = [Source(src=_address(current.image), label="Input")]
        for model in state.models:
            result = state.results.get(_key(current, model))
            if result is not None:
                sources.append(Source(src=result["src"], label=self._label(model)))
        if current.reference is not None:
            sources.append(Source(src=_address(current.reference), label="Reference"))
        self._viewer.set_sources(sources)

    def _label(self, model: Model) -> str:
        name = model.name or model.id
        same = [each for each in self._state.models if (each.name or each.id) == name]
        return name if len(same) == 1 else f"{name} …{model.id[-4:]}"

    @ui.refreshable_method
    def _strip(self) -> None:
        """The chosen images; one of them is looked at."""
        self._picks: list[ui.element] = []
        if not self._state.items:
            return
        with ui.element("ul").classes("restore-strip"):
            for place, item in enumerate(self._state.items):
                name = item.image.name
                with ui.element("li"):
                    pick = button("", partial(self._look_at, place), classes="restore-pick")
                    pick.props["aria-label"] = f"Look at {name}"
                    pick.props["aria-pressed"] = str(item is self._state.current).lower()
                    self._picks.append(pick)
                    with pick:
                        thumbnail(item.image, side=_THUMBNAIL)
                    drop = button("Remove", partial(self._remove, place), classes="plain small")
                    drop.props["aria-label"] = f"Remove {name}"

    @ui.refreshable_method
    def _table(self) -> None:
        """What became of the image that is looked at: time, metrics, files."""
        current = self._state.current
        if current is None or not self._state.models:
            return
        metrics = _metrics(self._state, current)
        scroll = ui.element("div").classes("scroll").props("tabindex=0 role=region")
        scroll.props["aria-label"] = "What came of it"
        with scroll, ui.element("table").classes("plain-table"):
            with ui.element("thead"), ui.element("tr"):
                text("th", current.image.name).props("scope=col")
                for label, better in metrics.values():
                    heading_cell = text("th", label, classes="number").props("scope=col")
                    heading_cell.props["title"] = f"{better} is better"
                text("th", "State").props("scope=col")
                text("th", "File").props("scope=col")
            with ui.element("tbody"):
                for model in [None, *self._state.models]:
                    self._row(current, model, metrics)
        if metrics:
            lower = ", ".join(label for label, way in metrics.values() if way == "lower")
            exception = f"; of {lower}, lower" if lower else ""
            text("p", f"Measured against the reference. Higher is better{exception}.")
        self._unmeasured(current)

    def _row(
        self, current: _Item, model: Model | None, metrics: dict[str, tuple[str, str]]
    ) -> None:
        key = _key(current, model)
        result = self._state.results.get(key)
        values = {each["name"]: each for each in _measured(result)}
        with ui.element("tr"):
            text("th", "Input" if model is None else self._label(model)).props("scope=row")
            for name in metrics:
                shown = "—"
                if name in values:
                    shown = words.measured(values[name]["value"], values[name]["unit"])
                text("td", shown, classes="number")
            with ui.element("td"):
                self._tell_state(key, result, model)
            with ui.element("td"):
                if result is not None and model is not None:
                    anchor = link("Download", result["src"])
                    stem = PurePosixPath(current.image.name).stem
                    anchor.props["download"] = f"{stem}-{self._label(model)}.png"
                    anchor.props["aria-label"] = f"Download the result of {self._label(model)}"

    def _tell_state(self, key: str, result: Result | None, model: Model | None) -> None:
        if key in self._state.problems:
            text("span", self._state.problems[key], classes="problem").props("role=alert")
            button("Try again", partial(self._try_again, key), classes="plain small")
        elif key in self._state.progress:
            progress = self._state.progress[key]
            share = "" if progress["share"] is None else f", {progress['share']:.0%}"
            text("span", f"{progress['words']}{share}").props("role=status")
            if "job" in progress:
                link("its job", f"/runs/{progress['job']}")
        elif result is not None:
            seconds = result["seconds"]
            text("span", "as it is" if seconds is None else f"done in {seconds:.1f} s")
        else:
            text("span", "as it is" if model is None else "waits", classes="quiet")

    def _unmeasured(self, current: _Item) -> None:
        """Why some result has no metrics, once."""
        found = {
            result["unmeasured"]
            for model in self._state.models
            if (result := self._state.results.get(_key(current, model))) is not None
            and "unmeasured" in result
        }
        for reason in sorted(found):
            text("p", f"Not measured: {reason}", classes="problem")

    def _try_again(self, key: str) -> None:
        self._state.problems.pop(key, None)
        self._restoring.again(key)
        self._table.refresh()

    @ui.refreshable_method
    def _tools(self) -> None:
        """What can be done with the image that is looked at: a reference, a test, a job."""
        current = self._state.current
        if current is None:
            return
        with ui.element("div").classes("restore-tools"):
            with ui.element("div").classes("field"):
                text("label", "Reference: what it should become").props("for=reference-image")
                choice = ui.element("select").props("id=reference-image").classes("text")
                with choice:
                    text("option", "none: nothing is measured").props("value=")
                    for each in self._stored.values():
                        if each.id == current.image.id:
                            continue
                        option = text("option", f"{each.name}, {each.width} × {each.height} px")
                        option.props["value"] = each.id
                        if current.reference is not None and each.id == current.reference.id:
                            option.props["selected"] = True
                choice.on(
                    "change", lambda event: self._take_reference(event.args), js_handler=_VALUE
                )
            self._problem = problem_line()
            trained = [each for each in self._state.models if each.manifest["task"]]
            if trained and current.reference is None:
                self._offer_tests(current.image, trained)
            if len(self._state.items) > 1 and self._state.models:
                self._offer_jobs()

    def _offer_tests(self, clean: Image, trained: list[Model]) -> None:
        text(
            "p",
            "Is this image clean? Degrade it as in a restorer's training, and see how much of it "
            "comes back:",
        )
        with ui.element("div").classes("row"):
            for model in trained:
                made = button(self._label(model), partial(self._degrade, clean, model))
                made.props["aria-label"] = f"Degrade it as in the training of {self._label(model)}"

    def _offer_jobs(self) -> None:
        text("p", "Restore all images by a job, which makes one archive of the results:")
        with ui.element("div").classes("row"):
            for model in self._state.models:
                made = button(self._label(model), partial(self._restore_all, model))
                made.props["aria-label"] = f"Restore all with {self._label(model)}"

    async def _degrade(self, clean: Image, model: Model) -> None:
        """Make a damaged version of `clean`, which is its reference."""
        runtime = self._visitor.runtime
        with telling(self._problem):
            await self._visitor.read(lambda session, caller: images.get(session, clean.id, caller))
            async with self._visitor.bench() as bench:
                png = await anyio.to_thread.run_sync(read_image, runtime.installation.blobs, clean)
                degraded, target = await bench.run(
                    trial.degrade,
                    png,
                    model.manifest["task"],
                    model.manifest["network"],
                    random_seed=0,
                )

            def keep(session: Session, caller: Caller) -> _Item:
                blobs = runtime.installation.blobs
                made_of = {"degraded": {"image_id": clean.id, "task": model.manifest["task"]}}
                stem = PurePosixPath(clean.name).stem[:_STEM]
                kept = [
                    images.add(
                        session,
                        blobs,
                        images.from_pixels(pixels, made_of),
                        name=name,
                        caller=caller,
                    )[0]
                    for pixels, name in (
                        (degraded, f"{stem}, degraded.png"),
                        (target, f"{stem}, cut.png"),
                    )
                ]
                return _Item(*kept)

            item = await self._visitor.write(keep)
            place = [each.image.id for each in self._state.items].index(clean.id)
            self._state.items[place] = item
            for each in (item.image, item.reference):
                if each is not None:
                    self._stored[each.id] = each
            self._state.look = place
            self._update()

    async def _restore_all(self, model: Model) -> None:
        """One job for all images, whose result is an archive."""

        def submit(session: Session, caller: Caller) -> Job:
            self._visitor.runtime.installation.blobs.check_free()
            ids = tuple(dict.fromkeys(each.image.id for each in self._state.items))
            wanted = Restoration(model_id=model.id, image_ids=ids)
            return submission.submit(session, wanted, caller=caller, name=f"{len(ids)} images")

        with telling(self._problem):
            job = await self._visitor.write(submit)
            await self._visitor.runtime.announcements.announce(job.id, job.type)
            ui.navigate.to(f"/runs/{job.id}")


_VALUE = "(event) => emit(event.target.value)"
_CHECKED = "(event) => emit(event.target.checked)"
# The same one can be chosen again.
_TAKE = "(event) => { emit(event.target.value); event.target.value = ''; }"


def _key(item: _Item, model: Model | None) -> str:
    parts = (
        item.image.id,
        "" if model is None else model.id,
        "" if item.reference is None else item.reference.id,
    )
    return "/".join(parts)


def _address(image: Image) -> str:
    return f"/v1/images/{image.id}/content"


def _metrics(state: _State, current: _Item) -> dict[str, tuple[str, str]]:
    """Label and which way is better, of what was measured of any result."""
    found: dict[str, tuple[str, str]] = {}
    for model in [None, *state.models]:
        for each in _measured(state.results.get(_key(current, model))):
            way = "higher" if each["higher_is_better"] else "lower"
            found.setdefault(each["name"], (each["label"], way))
    return found


def _measured(result: Result | None) -> list[dict[str, Any]]:
    return [] if result is None else result.get("metrics", [])


def _image(session: Session, image_id: str | None, caller: Caller) -> Image | None:
    """The image, if it is still there."""
    if image_id is None:
        return None
    try:
        return images.get(session, image_id, caller)
    except NotFoundError:
        return None


def _model(session: Session, model_id: str, caller: Caller, known: list[Model]) -> Model | None:
    for each in known:
        if each.id == model_id:
            return each
    try:
        return models.get(session, model_id, caller)
    except NotFoundError:
        return None
