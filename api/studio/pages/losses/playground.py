"""Trying a loss on two images: its value, where that comes from, and which way it pushes."""

import json
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self
from urllib.parse import urlencode

from nicegui import ui
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from api.downloads import read_image
from api.studio.elements.controls import Choice, Slider
from api.studio.elements.image_viewer import ImageViewer, Source
from api.studio.elements.pipeline import PipelineBuilder
from api.studio.frame import button, empty, panel, problem_line, telling, text
from api.studio.pages.losses import picking
from api.studio.pages.losses.picking import ImagePicker
from api.studio.pages.losses.pictures import embedded
from api.studio.pages.losses.repair import Repair
from api.studio.pages.losses.shares import Part, Shares, in_words
from api.studio.visitor import Visitor
from api.studio.wording import number
from services.access import Caller
from services.blobs import StoredFile
from services.database.schema import Image, Loss
from services.errors import BadInputError
from services.images import catalogue as images
from services.installation import Installation
from services.losses import catalogue, playground
from services.losses.playground import MAX_OPERATIONS, MAX_PIXELS, Layer, Pair, fitting_size
from services.phase1.recipe import Task

_task = TypeAdapter[Any](Task)
_DIFFERENCES = "Differences"
_LAYERS: dict[str, Layer | None] = {
    _DIFFERENCES: "difference",
    "Push, direction": "direction",
    "Push, strength": "magnitude",
    "Nothing": None,
}
_FIRST = "The first look takes some seconds: the process that computes has to start."


@dataclass(frozen=True)
class Given:
    """What is looked at, as the page's address says it."""

    reference: str  # id of an image; empty if none is chosen
    image: str  # likewise; empty for the reference, distorted
    task: dict[str, Any]  # that distorts it
    position: float  # within the ranges of the task, from 0 to 1
    side: int | None  # that the longer side is shrunk to, px

    @classmethod
    def of(
        cls, loss: Loss, *, reference: str, image: str, task: str, position: str, side: str
    ) -> Self:
        """Read it from a query, where nothing may be right."""
        try:
            distortion = _task.validate_json(task) if task else _own_task(loss)
            return cls(
                reference=reference,
                image=image,
                task=distortion.model_dump(mode="json"),
                position=min(1.0, max(0.0, float(position or 0.5))),
                side=max(16, int(side)) if side else None,
            )
        except ValueError as error:
            raise BadInputError("The address of this page is damaged: open it anew.") from error

    def address(self, loss_id: str) -> str:
        """Where the page is had as it is."""
        query = {
            "view": "playground",
            "reference": self.reference,
            "image": self.image,
            "task": json.dumps(self.task, separators=(",", ":")),
            "position": f"{self.position:g}",
            "side": self.side or "",
        }
        return f"/losses/{loss_id}?" + urlencode({k: v for k, v in query.items() if v != ""})


@dataclass(frozen=True)
class _Known:
    """What a look needs of the database."""

    file: StoredFile
    reference: Image | None
    image: Image | None


def _own_task(loss: Loss) -> Any:
    """The task of the loss, as far as it says one; else JPEG, which everybody knows."""
    try:
        return _task.validate_python(loss.manifest["task"])
    except ValidationError:
        return _task.validate_python({"kind": "jpeg"})


async def show(visitor: Visitor, loss: Loss, given: Given) -> None:
    """The view."""

    def ask(session: Session, caller: Caller) -> tuple[_Known, list[Image]]:
        library = picking.newest(session, caller)
        reference = given.reference or _first(session, caller, loss, library)
        return _known(session, caller, loss, replace(given, reference=reference)), library

    known, library = await visitor.read(ask)
    if known.reference is None and not visitor.may_write:
        empty("There is no image to try the loss on, and this key may upload none.")
        return
    reference = "" if known.reference is None else known.reference.id
    trial = _Trial(visitor, loss, replace(given, reference=reference))
    trial.draw(known, library)
    if known.reference is not None:
        ui.timer(0, trial.look, once=True)


class _Trial:
    """One page's playground."""

    def __init__(self, visitor: Visitor, loss: Loss, given: Given) -> None:
        self._visitor = visitor
        self._loss = loss
        self._given = given
        self._layer: Layer | None = "difference"
        self._part: Part = (None, None)
        self._pair: Pair | None = None
        self._prepared: Given | None = None  # what the pair was made of
        self._asked = self._looking = False

    def draw(self, known: _Known, library: list[Image]) -> None:
        """The controls, and places for what will be seen."""
        with ui.element("div").classes("playground"):
            with ui.element("div").classes("playground-side"):
                self._draw_images(known, library)
            with ui.element("div").classes("playground-main"):
                with panel("What the loss says"):
                    self._state = text("p", "", classes="quiet").props("role=status")
                    self._problem = problem_line()
                    with ui.element("dl").classes("figures"):
                        self._value = _figure("Loss")
                        self._psnr = _figure("PSNR")
                        self._size = _figure("Compared at")
                    scales = len(self._loss.manifest["widths"])
                    self._shares = Shares(self._choose_part, scales=scales)
                with panel("Where, and which way"):
                    self._layers = Choice(
                        "Layer", {each: each for each in _LAYERS}, _DIFFERENCES, self._choose_layer
                    )
                    self._legend = ui.element("div").classes("legend")
                    self._legend.set_visibility(False)
                    with self._legend:
                        self._low = text("span", "")
                        self._scale = ui.element("i").classes("colours")
                        self._high = text("span", "")
                    self._told = text("p", "", classes="quiet")
                    self._viewer = ImageViewer(
                        [], mode="single", overlay_opacity=0.7, title="The image and its target"
                    )
                self._repair = Repair(self._visitor, self._loss, shrink=self._shrink_to)

    def _draw_images(self, known: _Known, library: list[Image]) -> None:
        with panel("Two images"):
            ImagePicker(
                self._visitor,
                "What it should be",
                chosen=known.reference,
                library=library,
                act=self._choose_reference,
            )
            text("h3", "What is judged")
            Choice(
                "What is judged",
                {"distorted": "The same, distorted", "other": "Another image"},
                "other" if self._given.image else "distorted",
                self._choose_kind,
            )
            with ui.element("div") as self._distorting:
                Slider(
                    "From the low to the high end of the ranges below",
                    value=self._given.position,
                    low=0,
                    high=1,
                    step=0.01,
                    factor=100,
                    unit="%",
                    act=self._choose_position,
                )
                PipelineBuilder(self._given.task, self._choose_task)
            with ui.element("div") as self._other:
                ImagePicker(
                    self._visitor,
                    "The image",
                    chosen=known.image,
                    library=library,
                    act=self._choose_image,
                )
            self._distorting.set_visibility(not self._given.image)
            self._other.set_visibility(bool(self._given.image))
            self._shrinking = ui.element("div").classes("row")

    async def _choose_reference(self, image_id: str) -> None:
        await self._change(reference=image_id)

    async def _choose_image(self, image_id: str) -> None:
        await self._change(image=image_id)

    async def _choose_kind(self, kind: str) -> None:
        self._distorting.set_visibility(kind == "distorted")
        self._other.set_visibility(kind == "other")
        if kind == "distorted":
            await self._change(image="")

    async def _choose_task(self, task: dict[str, Any]) -> None:
        await self._change(task=task)

    async def _choose_position(self, position: float) -> None:
        await self._change(position=position)

    async def _shrink_to(self, side: int | None) -> None:
        await self._change(side=side)

    async def _choose_layer(self, layer: str) -> None:
        self._layer = _LAYERS[layer]
        await self.look()

    async def _choose_part(self, part: Part) -> None:
        self._part = part
        self._layer = "difference"
        self._layers.show(_DIFFERENCES)
        await self.look()

    async def _change(self, **changes: Any) -> None:
        self._given = replace(self._given, **changes)
        ui.navigate.history.replace(self._given.address(self._loss.id))
        await self.look()

    async def look(self) -> None:
        """See what the loss says now; of what is asked meanwhile, the latest is seen next."""
        self._asked = True
        if self._looking:
            return
        self._looking = True
        try:
            while self._asked:
                self._asked = False
                self._state.set_text(_FIRST if self._pair is None else "Looking …")
                with telling(self._problem):
                    await self._look_once()
                self._state.set_text("")
        finally:
            self._looking = False

    async def _look_once(self) -> None:
        given = self._given
        if not given.reference:
            return
        known, contents = await self._visitor.do(self._read)
        size = self._size_of(known)
        started = time.monotonic()
        location = self._visitor.runtime.installation.blobs.location
        async with self._visitor.bench() as bench:
            if self._pair is None or self._prepared != given:
                self._pair = await bench.run(
                    playground.prepare,
                    *contents,
                    _task.validate_python(given.task),
                    size=size,
                    position=given.position,
                )
                self._prepared = given
            pair = self._pair
            judged = await bench.run(playground.judge, location, known.file.blob, pair)
            overlay = None
            if self._layer is not None:
                scale, tap = self._part
                overlay = await bench.run(
                    playground.overlay,
                    location,
                    known.file.blob,
                    pair,
                    self._layer,
                    scale=scale,
                    tap=tap,
                )
        self._value.set_text(number(judged.value))
        self._psnr.set_text("equal" if judged.psnr > 99.9 else f"{judged.psnr:.2f} dB")
        self._size.set_text(f"{size[0]}×{size[1]} px, in {time.monotonic() - started:.1f} s")
        self._shares.show(judged.terms)
        self._show_pictures(pair, overlay)
        self._offer_sizes(known, size)
        self._repair.take(pair, size, known.file)

    def _read(
        self, installation: Installation, caller: Caller
    ) -> tuple[_Known, tuple[bytes, bytes | None]]:
        with installation.database.read() as session:
            known = _known(session, caller, self._loss, self._given)
        if known.reference is None:
            raise BadInputError("Choose what the image should be.")
        reference = read_image(installation.blobs, known.reference)
        if known.image is None:
            return known, (reference, None)
        return known, (reference, read_image(installation.blobs, known.image))

    def _size_of(self, known: _Known) -> tuple[int, int]:
        reference, image = known.reference, known.image
        assert reference is not None  # noqa: S101 - it was read
        if image and (image.width, image.height) != (reference.width, reference.height):
            raise BadInputError(
                f"The image is {image.width}×{image.height} px and what it should be "
                f"{reference.width}×{reference.height} px: a loss compares images of one size."
            )
        return fitting_size(
            reference.width,
            reference.height,
            self._given.side,
            known.file.size,
            operations=MAX_OPERATIONS,
            pixels=MAX_PIXELS,
        )

    def _show_pictures(self, pair: Pair, overlay: playground.Overlay | None) -> None:
        sources: list[Source] = [
            {"src": embedded(pair.image), "label": "judged"},
            {"src": embedded(pair.target), "label": "what it should be"},
        ]
        self._viewer.set_sources(sources)
        self._viewer.set_overlay(None if overlay is None else embedded(overlay.png))
        self._legend.set_visibility(overlay is not None)
        peak = "" if overlay is None else number(overlay.peak, digits=3)
        self._scale.classes(
            add="diverging" if self._layer == "direction" else "sequential",
            remove="sequential" if self._layer == "direction" else "diverging",
        )
        match self._layer:
            case "difference":
                ends = "0", peak
                told = (
                    "Squared difference of the activations, averaged over their channels: "
                    f"{in_words(self._part)}. A number in the table above chooses another map. "
                    "Unpadded convolutions leave out the border."
                )
            case "direction":
                ends = f"darker, {peak}", f"brighter, {peak}"
                told = (
                    "Which way descent on the loss changes the brightness of each pixel, and how "
                    "much the loss falls per unit. 0.5 % of the pixels are beyond the full colour."
                )
            case "magnitude":
                ends = "0", peak
                told = (
                    "How strongly the loss depends on each pixel: the norm of its derivative over "
                    "red, green and blue. 0.5 % of the pixels are beyond the full colour."
                )
            case _:
                ends, told = ("", ""), ""
        self._low.set_text(ends[0])
        self._high.set_text(ends[1])
        self._told.set_text(told)

    def _offer_sizes(self, known: _Known, size: tuple[int, int]) -> None:
        reference = known.reference
        assert reference is not None  # noqa: S101 - it was read
        largest = max(reference.width, reference.height)
        self._shrinking.clear()
        with self._shrinking:
            if max(size) < largest:
                why = "" if self._given.side else ": a look at more would take long"
                text("span", f"Shrunk from {reference.width}×{reference.height} px{why}.")
            for side in (256, 128, 64):
                if side < max(size):
                    button(f"Shrink to {side} px", partial(self._shrink_to, side))
            if self._given.side:
                button("As large as possible", lambda: self._shrink_to(None))


def _known(session: Session, caller: Caller, loss: Loss, given: Given) -> _Known:
    catalogue.get(session, loss.id, caller)

    def image(image_id: str) -> Image | None:
        return images.get(session, image_id, caller) if image_id else None

    file = catalogue.file(session, loss.id, "safetensors")
    return _Known(file, image(given.reference), image(given.image))


def _first(session: Session, caller: Caller, loss: Loss, library: list[Image]) -> str:
    """What to begin with: the loss's own seed, else the newest image."""
    seeds = images.of_digests(session, loss.manifest["seeds"], caller)
    first = next(iter(seeds.values()), library[0] if library else None)
    return "" if first is None else first.id


def _figure(name: str) -> Any:
    with ui.element("div"):
        text("dt", name)
        return text("dd", "—", classes="number")
