"""Seed: the images to learn losses from, their pyramids, and what tasks do to them."""

import json
import random
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, get_args
from urllib.parse import urlencode

from fastapi import Query
from nicegui import ui
from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from api.downloads import read_image
from api.studio.elements.deletion import deletion
from api.studio.elements.ids import short_id
from api.studio.elements.image_viewer import ImageViewer
from api.studio.elements.latest import Latest
from api.studio.elements.pipeline import THROTTLE, PipelineBuilder, parameter_label, read_task
from api.studio.elements.pyramid import draw_pyramid
from api.studio.elements.schema_form import SchemaForm
from api.studio.elements.thumbnails import thumbnail
from api.studio.elements.times import moment
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
from api.studio.visitor import Visitor
from api.studio.wording import number, size
from services.access import Caller
from services.database.schema import Image
from services.images import catalogue
from services.images.synthesis import ContrastRings, PinkNoise, PyramidPermutation, synthesise
from services.installation import Installation
from services.listing import Page
from services.phase1.recipe import Preset, Task, resolve

_LISTED = 24
_THUMBNAIL = 112  # px
_PART = 512  # side of the part on which distortions are shown, px
# Parts begin where JPEG's blocks do, so that those of the part are those of the image.
_BLOCK = 16
_PRESETS: dict[Preset, str] = {
    "paper": "As in the paper: hours",
    "published": "As in the authors' code: hours",
    "quick": "A quick try: minutes",
}
AnySynthesis = PinkNoise | ContrastRings | PyramidPermutation
_KINDS: dict[str, tuple[type[AnySynthesis], str]] = {
    "pink-noise": (PinkNoise, "Pink noise: as coarse and fine as natural images, and nothing else"),
    "contrast-rings": (ContrastRings, "Contrast rings: edges of all contrasts and directions"),
    "pyramid-permutation": (
        PyramidPermutation,
        "Pyramid permutation: the pixels of the chosen image change places on each level",
    ),
}
_VALUE = "(event) => emit(event.target.value)"
# Another image is looked at with the task that is chosen here.
_KEEP_TASK = """(event) => {
  const task = new URLSearchParams(location.search).get("task");
  if (!task) return;
  const there = new URL(event.currentTarget.href);
  there.searchParams.set("task", task);
  event.currentTarget.href = there;
}"""
# A plain click waits until the server has been told of the last change; others, and those while
# it cannot be asked, open the link's own address.
_ASK_SERVER = f"""(event) => {{
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  if (!window.socket?.connected) return;
  event.preventDefault();
  setTimeout(emit, {1000 * THROTTLE:.0f});
}}"""
_task_type = TypeAdapter[Any](Task)


@page("/seed", title="Seed")
async def show(
    visitor: Visitor,
    image: str | None = None,
    task: str | None = None,
    preset: Annotated[Preset, Query()] = "paper",
    cursor: str | None = None,
) -> None:
    """The page."""
    style("seed")
    chosen_task = read_task(task)
    listed = await visitor.read(partial(catalogue.list_images, limit=_LISTED, cursor=cursor))
    chosen = await _chosen(visitor, image, listed)
    heading(
        "Seed",
        lead="A loss is learnt from one image. Any photograph with edges, textures and smooth "
        "parts will do.",
    )
    state = _State(chosen, chosen_task, preset)
    with ui.element("div").classes("seed-top"):
        _show_library(visitor, listed, chosen)
        if chosen is not None:
            _show_chosen(visitor, chosen, state)
    if chosen is not None:
        _show_pyramid(chosen, state)
        _show_distortion(chosen, state)
    if visitor.may_write:
        _offer_synthesis(visitor, chosen)


class _State:
    """What is chosen on the page; its address says so too."""

    def __init__(self, image: Image | None, task: dict[str, Any] | None, preset: Preset) -> None:
        self._image = image
        self.task = task or _task_type.validate_python({"kind": "denoising"}).model_dump(
            mode="json"
        )
        self.preset = preset
        self._followers: list[Callable[[], None]] = []

    def follow(self, tell: Callable[[], None]) -> None:
        """Have `tell` called now, and when the choice changes."""
        self._followers.append(tell)
        tell()

    def choose(self, *, task: dict[str, Any] | None = None, preset: Preset | None = None) -> None:
        """Keep a choice, in the address too."""
        self.task = task or self.task
        self.preset = preset or self.preset
        ui.navigate.history.replace(self.address("/seed"))
        for tell in self._followers:
            tell()

    def address(self, path: str) -> str:
        """Another page, or this one, with these choices."""
        assert self._image is not None  # noqa: S101 - without an image nothing can be chosen
        chosen = {"image": self._image.id, "task": json.dumps(self.task), "preset": self.preset}
        return f"{path}?{urlencode(chosen)}"


async def _chosen(visitor: Visitor, image_id: str | None, listed: Page[Image]) -> Image | None:
    """The image that the address names, or the newest."""
    if image_id is None:
        return listed.items[0] if listed.items else None
    return await visitor.read(lambda session, caller: catalogue.get(session, image_id, caller))


def _show_library(visitor: Visitor, listed: Page[Image], chosen: Image | None) -> None:
    with panel("Images"):
        if visitor.may_write:
            DropZone(on_done=lambda made: ui.navigate.to(f"/seed?image={made['id']}"))
        if not listed.items:
            empty("There is no image yet: drop a photograph above, or make a synthetic seed below.")
            return
        with ui.element("ul").classes("seed-library"):
            for image in listed.items:
                with ui.element("li"):
                    anchor = link("", f"/seed?image={image.id}", classes="seed-choice")
                    anchor.on("click", js_handler=_KEEP_TASK)
                    if chosen is not None and image.id == chosen.id:
                        anchor.props('aria-current="true"')
                    with anchor:
                        thumbnail(image, side=_THUMBNAIL)
                        text("span", image.name, classes="seed-name")
        if listed.next_cursor:
            link("Older images", f"/seed?cursor={listed.next_cursor}", classes="button")


def _show_chosen(visitor: Visitor, image: Image, state: _State) -> None:
    with panel(image.name, classes="seed-chosen"):
        thumbnail(image, side=420, words=f"The chosen image, {image.name}", classes="seed-picture")
        with ui.element("dl").classes("facts"):
            _fact("Size", f"{image.width}×{image.height} px, {size(image.size)}")
            _fact("From", _origin(image))
            text("dt", "Added")
            with ui.element("dd"):
                moment(image.created)
            text("dt", "Id")
            with ui.element("dd"):
                short_id(image.id)
        if visitor.may_write:
            train = link("Train on this image", "", classes="button")

            def lead() -> None:
                train.props["href"] = state.address("/train")

            state.follow(lead)
            # What was chosen just before may not have reached the link yet: the server knows.
            train.on(
                "click", lambda _: ui.navigate.to(state.address("/train")), js_handler=_ASK_SERVER
            )

            async def delete() -> None:
                await visitor.do(
                    lambda installation, caller: catalogue.delete(
                        installation.database, installation.blobs, image.id, caller
                    ),
                    needs="write",
                )
                ui.navigate.to("/seed")

            deletion(f"image {image.name}", consequence="Losses trained on it stay.", act=delete)


def _show_pyramid(image: Image, state: _State) -> None:
    with panel("Pyramid"):
        text(
            "p",
            "A discriminator is trained on each scale, the coarsest first. Scales that are too "
            "small for it cannot be used.",
            classes="quiet",
        )
        factor = {"auto": False}

        def draw() -> None:
            overrides: dict[str, Any] = {"factor": "auto"} if factor["auto"] else {}
            recipe = resolve(state.preset, overrides)
            drawing.clear()
            with drawing:
                draw_pyramid(image, recipe, on_auto=lambda: set_factor(auto=True))

        def set_factor(*, auto: bool) -> None:
            factor["auto"] = auto
            fitting.props["checked"] = auto
            draw()

        with ui.element("div").classes("row"):
            with ui.element("label").classes("seed-field"):
                text("span", "Preset")
                choice = ui.element("select").classes("text")
                with choice:
                    for name, words in _PRESETS.items():
                        option = text("option", words)
                        option.props["value"] = name
                        if name == state.preset:
                            option.props("selected")
            with ui.element("label").classes("seed-check"):
                fitting = ui.element("input").props("type=checkbox")
                text("span", "Factor auto: as large as the image allows")
        drawing = ui.element("div").classes("seed-pyramid")
        choice.on(
            "change", lambda event: state.choose(preset=_preset(event.args)), js_handler=_VALUE
        )
        fitting.on(
            "change",
            lambda event: set_factor(auto=bool(event.args)),
            js_handler="(event) => emit(event.target.checked)",
        )
        drawn: list[Preset] = []

        def follow() -> None:
            if drawn != [state.preset]:  # a task changes nothing here
                drawn[:] = [state.preset]
                draw()

        state.follow(follow)


def _show_distortion(image: Image, state: _State) -> None:
    """What the task does to the image, as strong as a slider says."""
    width, height = min(_PART, image.width), min(_PART, image.height)
    part = {
        "left": (image.width - width) // 2 // _BLOCK * _BLOCK,
        "top": (image.height - height) // 2 // _BLOCK * _BLOCK,
        "width": width,
        "height": height,
    }
    original = f"/v1/images/{image.id}/preview?{urlencode(part)}"
    shown = {"position": 0.5, "random_seed": 1}  # a slider without a value stands in the middle

    def address() -> str:
        asked = {**part, **shown, "task": json.dumps(state.task)}
        return f"/v1/images/{image.id}/distorted?{urlencode(asked)}"

    def show(src: str) -> None:
        viewer.set_sources(
            [{"src": original, "label": "Original"}, {"src": src, "label": "Distorted"}]
        )

    def follow() -> None:
        values.set_text(_values(state.task, shown["position"]))
        latest.want(address())

    def move(position: str) -> None:
        shown["position"] = float(position) / 100
        follow()

    def draw_again() -> None:
        shown["random_seed"] = random.randrange(2**31)  # noqa: S311 - a picture's noise
        follow()

    with panel("What the task does to it"), ui.element("div").classes("seed-distortion"):
        with ui.element("div").classes("seed-task"):
            PipelineBuilder(state.task, lambda task: state.choose(task=task))
            with ui.element("div").classes("field"):
                with ui.element("label").classes("seed-strength"):
                    text("span", "Shown within the ranges, from their low to their high ends")
                    slider = ui.element("input").props("type=range")  # 0 to 100
                values = text("p", "", classes="number").props("role=status")
            with ui.element("div").classes("row"):
                button("Draw again", draw_again)
                text("span", "with other noise of the same strength", classes="quiet")
            slider.on("input", lambda event: move(event.args), js_handler=_VALUE, throttle=0.1)
        with ui.element("div").classes("seed-preview"):
            viewer = ImageViewer(
                [{"src": original, "label": "Original"}],
                title="The image before and after the task's distortion",
            )
            if (width, height) != (image.width, image.height):
                text("p", f"The middle of the image, {width}×{height} px.", classes="quiet")
            latest = Latest(
                address(),
                patience="Warming up: the first preview takes some seconds.",
                on_ready=show,
            )
    state.follow(follow)


def _offer_synthesis(visitor: Visitor, chosen: Image | None) -> None:
    """Seeds that are no photographs."""
    kinds = [kind for kind in _KINDS if kind != "pyramid-permutation" or chosen is not None]
    given: dict[str, dict[str, Any]] = {kind: {} for kind in kinds}
    form: dict[str, SchemaForm] = {}
    current = {"kind": kinds[0]}

    def draw() -> None:
        model, _ = _KINDS[current["kind"]]
        fields.clear()
        with fields:
            form["now"] = SchemaForm(
                model,
                given=given[current["kind"]],
                defaults=_defaults(model, chosen),
                on_change=lambda values: given.__setitem__(current["kind"], values),
            )

    def choose(kind: str) -> None:
        if kind in kinds:
            current["kind"] = kind
            draw()

    async def make() -> None:
        with telling(problem):
            model, _ = _KINDS[current["kind"]]
            if form["now"].problems:
                return
            spec = model.model_validate({**_defaults(model, chosen), **given[current["kind"]]})
            waiting.set_text("Being made …")
            try:
                made = await _synthesise(visitor, spec)
            finally:
                waiting.set_text("")
            ui.navigate.to(f"/seed?image={made.id}")

    with panel("Synthetic seeds"):
        text("p", "Made by the service, to find out what a loss learns from what.", classes="quiet")
        with ui.element("label").classes("seed-field"):
            text("span", "Kind")
            choice = ui.element("select").classes("text")
            with choice:
                for kind in kinds:
                    text("option", _KINDS[kind][1]).props["value"] = kind
        fields = ui.element("div")
        choice.on("change", lambda event: choose(event.args), js_handler=_VALUE)
        with ui.element("div").classes("row"):
            button("Make this seed", make, classes="button")
            waiting = text("span", "", classes="quiet").props("role=status")
        problem = problem_line()
    draw()


def _defaults(model: type[AnySynthesis], chosen: Image | None) -> dict[str, Any]:
    known = {"image_id": chosen.id} if model is PyramidPermutation and chosen else {}
    return {
        **{
            name: field.default
            for name, field in model.model_fields.items()
            if not field.is_required()
        },
        **known,
    }


async def _synthesise(visitor: Visitor, spec: AnySynthesis) -> Image:
    """Make a seed and keep it, as `POST /v1/images/synthesize` does."""

    def read_source(installation: Installation, caller: Caller) -> Any:
        if not isinstance(spec, PyramidPermutation):
            return None
        with installation.database.read() as session:
            image = catalogue.referenced(session, spec.image_id, caller, "/image_id")
        return catalogue.pixels(read_image(installation.blobs, image))

    async with visitor.bench() as bench:
        source = await visitor.do(read_source, needs="write")
        pixels = await bench.run(synthesise, spec, source)

    def keep(session: Session, caller: Caller) -> Image:
        decoded = catalogue.from_pixels(pixels, {"synthesis": spec.model_dump(mode="json")})
        blobs = visitor.runtime.installation.blobs
        return catalogue.add(session, blobs, decoded, name=spec.kind, caller=caller)[0]

    return await visitor.write(keep)


def _preset(name: str) -> Preset:
    presets: dict[str, Preset] = {each: each for each in get_args(Preset)}
    return presets[name]


def _values(task: dict[str, Any], position: float) -> str:
    """The values at that place of each range, in words."""
    told = []
    for distortion in _task_type.validate_python(task).pipeline():
        for name, value in distortion:
            if isinstance(value, tuple) and value[0] != value[1]:
                low, high = value
                drawn = low + (high - low) * position
                shown = str(round(drawn)) if isinstance(low, int) else number(drawn, digits=3)
                told.append(f"{parameter_label(name)} {shown}")
    if task["kind"] == "sisr":
        return "Scaled down and up again by the paper's factor of 2."
    return ", ".join(told) or "All values are fixed."


def _origin(image: Image) -> str:
    if "synthesis" in image.source:
        given = image.source["synthesis"]
        settings = ", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in given.items() if name != "kind"
        )
        return f"synthetic: {given['kind']}, {settings}"
    changes = image.source.get("conversions") or []
    return ", ".join([f"{image.source.get('format', 'an image')} file", *changes])


def _fact(name: str, value: str) -> None:
    text("dt", name)
    text("dd", value)
