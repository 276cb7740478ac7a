"""The first steps: a photograph, a task, and off it goes."""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import PurePath
from typing import Any
from urllib.parse import urlencode

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement
from sqlalchemy.orm import Session

from api.studio.elements.forecast import time_of
from api.studio.elements.pipeline import TASKS, read_task
from api.studio.elements.thumbnails import thumbnail
from api.studio.elements.upload import DropZone
from api.studio.frame import button, heading, link, problem_line, telling, text
from api.studio.visitor import Visitor
from services.access import Caller
from services.database.schema import Image, Job
from services.errors import BadInputError, ServiceError
from services.estimates import forecast
from services.images import catalogue
from services.jobs import submission
from services.names import cleaned
from services.phase1.recipe import PRESETS, DiscriminatorTraining, check_seed_size

_EXAMPLE = 160  # side of the part of the photograph that shows a task, px
_VALUE = "(event) => emit(event.target.value)"


async def draw(visitor: Visitor, *, image_id: str | None, written_task: str | None) -> None:
    """Three steps; what is chosen stands in the address, too."""
    image = await _chosen(visitor, image_id)
    chosen = {"task": read_task(written_task) or {"kind": "denoising"}}
    heading(
        "Train your first loss",
        lead="A loss learns from one photograph what your images should look like. Three steps.",
    )

    async def choose(kind: str) -> None:
        chosen["task"] = _task_of(kind)
        ui.navigate.history.replace(_address(image.id if image else None, chosen["task"]))
        await draw_training()

    async def draw_training() -> None:
        task = chosen["task"]
        training.clear()
        with training:
            told = _offer_training(visitor, image, task)
        if image is not None and told is not None:
            foreseen = await visitor.read(partial(_foresee, image, task))
            if foreseen is not None and task is chosen["task"]:  # no other was chosen meanwhile
                told.set_text(f"Takes {foreseen} here.")

    with ui.element("ol").classes("start-steps"):
        with _step(1, "Drop a photograph"):
            _offer_image(image, chosen)
        with _step(2, "Choose a task"):
            _offer_tasks(image, chosen["task"], choose)
        with _step(3, "Train"):
            training = ui.element("div").classes("start-training")
    await draw_training()


@contextmanager
def _step(number: int, title: str) -> Iterator[None]:
    with ui.element("li").classes("panel start-step"):
        with ui.element("h2"):
            text("span", str(number), classes="start-number").props("aria-hidden=true")
            text("span", title)
        yield


async def _chosen(visitor: Visitor, image_id: str | None) -> Image | None:
    """The image that the address names, or the newest one."""

    def ask(session: Session, caller: Caller) -> Image | None:
        if image_id is not None:
            return catalogue.get(session, image_id, caller)
        newest = catalogue.list_images(session, caller, limit=1).items
        return newest[0] if newest else None

    return await visitor.read(ask)


def _address(image_id: str | None, task: dict[str, Any]) -> str:
    """This page with these choices."""
    chosen = {"task": json.dumps(task)} | ({"image": image_id} if image_id else {})
    return f"/?{urlencode(chosen)}"


def _offer_image(image: Image | None, chosen: Mapping[str, dict[str, Any]]) -> None:
    if image is not None:
        with ui.element("figure").classes("start-image"):
            thumbnail(image, side=240, words=f"The chosen photograph, {image.name}")
            text("figcaption", f"{image.name}, {image.width}×{image.height} px")
    label = "Drop a photograph here, or choose one" if image is None else "Drop another one"
    DropZone(label=label, on_done=lambda made: ui.navigate.to(_address(made["id"], chosen["task"])))
    with ui.element("p").classes("quiet"):
        text("span", "None at hand? ")
        link("Make a synthetic one", "/seed")


def _offer_tasks(
    image: Image | None, task: dict[str, Any], choose: Callable[[str], Awaitable[None]]
) -> None:
    """What the loss is to help with; on the photograph, once there is one."""
    with ui.element("fieldset").classes("start-tasks"):
        text("legend", "What is wrong with the images that you want to restore?", classes="quiet")
        for kind, (label, help_text) in TASKS.items():
            with ui.element("label"):
                choice = ui.element("input").props("type=radio name=start-task")
                choice.props["value"] = kind
                if kind == task["kind"]:
                    choice.props("checked")
                with ui.element("span"):
                    text("strong", label)
                    text("span", help_text, classes="quiet")
                if image is not None and kind != "custom":
                    _draw_example(image, kind)
            choice.on("change", lambda event: choose(event.args), js_handler=_VALUE)


def _draw_example(image: Image, kind: str) -> None:
    """The middle of the photograph as the task distorts it."""
    side = min(_EXAMPLE, image.width, image.height)
    part = {
        "left": (image.width - side) // 2,
        "top": (image.height - side) // 2,
        "width": side,
        "height": side,
        "task": json.dumps({"kind": kind}),
    }
    example = ui.element("img").props('alt="" width=72 height=72').classes("pixels")
    example.props["src"] = f"/v1/images/{image.id}/distorted?{urlencode(part)}"


def _task_of(kind: str) -> dict[str, Any]:
    if kind == "custom":
        return {"kind": kind, "distortions": [{"kind": "gaussian_noise", "sigma": [0, 55]}]}
    if kind not in TASKS:
        raise BadInputError(f"there is no task {kind[:40]}")
    return {"kind": kind}


def _quick(image: Image, task: dict[str, Any]) -> DiscriminatorTraining:
    """The training of the quick try."""
    return DiscriminatorTraining.model_validate(
        {"seed_image_ids": [image.id], "task": task, "preset": "quick"}
    )


def _foresee(image: Image, task: dict[str, Any], session: Session, caller: Caller) -> str | None:
    """How long the quick try would take; None if that is not known, or it would be refused."""
    try:
        estimate = forecast.estimate(session, _quick(image, task), caller)
    except BadInputError:
        return None
    return None if estimate.seconds is None else time_of(estimate)


def _offer_training(
    visitor: Visitor, image: Image | None, task: dict[str, Any]
) -> TextElement | None:
    """What can be begun; gives the place for how long the quick try takes, if it can be."""
    if image is None:
        text("p", "First drop a photograph: then this is where it begins.", classes="quiet")
        button("Quick try, minutes", classes="button").props("disabled")
        return None
    chosen = {"image": image.id, "task": json.dumps(task)}
    if task["kind"] == "custom":
        text("p", "First put the steps of your pipeline together, and see what they do.")
        link("Build the pipeline", f"/seed?{urlencode(chosen)}", classes="button")
        return None
    label, _ = TASKS[task["kind"]]

    async def train() -> None:
        with telling(problem):
            job = await visitor.write(submit)
            await visitor.runtime.announcements.announce(job.id, job.type)
            ui.navigate.to(f"/runs/{job.id}")

    def submit(session: Session, caller: Caller) -> Job:
        visitor.runtime.installation.blobs.check_free()
        name = cleaned(f"{PurePath(image.name).stem}, {label}")
        return submission.submit(session, _quick(image, task), caller=caller, name=name)

    button("Quick try, minutes", train, classes="button")
    with ui.element("p").classes("quiet"):
        text("span", "Small scales and few steps: to see how it goes. ")
        told = text("span", "")
    problem = problem_line()
    link("Full, as in the paper", f"/train?{urlencode(chosen | _full(image))}", classes="button")
    text("p", "Hours on a GPU. You see time and memory before it begins.", classes="quiet")
    return told


def _full(image: Image) -> dict[str, str]:
    """The paper's preset; for an image that is too small for its factor, with another one."""
    try:
        check_seed_size(PRESETS["paper"], image.width, image.height)
    except ServiceError:
        return {"preset": "paper", "recipe": json.dumps({"factor": "auto"})}
    return {"preset": "paper"}
