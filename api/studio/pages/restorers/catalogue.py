"""All restorers, and the trainings that will make more of them."""

from nicegui import ui
from sqlalchemy.orm import Session

from api.studio.elements.times import moment
from api.studio.elements.upload import DropZone
from api.studio.frame import empty, heading, link, page, panel, style, text
from api.studio.pages.restorers import words
from api.studio.visitor import Visitor
from services.access import Caller
from services.database.schema import Job, Model
from services.jobs import queries
from services.jobs.lifecycle import TERMINAL
from services.listing import Page
from services.restorers import catalogue

_LISTED = 30
_TRAININGS = 20


@page("/restorers", title="Restorers")
async def show(visitor: Visitor, cursor: str | None = None) -> None:
    """The page."""
    style("restorers")
    with ui.element("div").classes("row head-row"):
        heading("Restorers", lead="Networks that undo what damaged an image.")
        if visitor.may_write:
            link("Train a restorer", "/restorers/train", classes="button")

    def ask(session: Session, caller: Caller) -> tuple[Page[Model], list[Job]]:
        jobs = queries.list_jobs(session, caller, type="restoration_training", limit=_TRAININGS)
        under_way = [job for job in jobs.items if job.state not in TERMINAL]
        return catalogue.list_models(session, caller, limit=_LISTED, cursor=cursor), under_way

    models, trainings = await visitor.read(ask)
    if trainings:
        with panel("In training"), ui.element("ul").classes("training-list"):
            for job in trainings:
                with ui.element("li").classes("row"):
                    link(job.name or "without a name", f"/runs/{job.id}")
                    text("span", job.state.capitalize(), classes=f"state {job.state}")
                    fraction = (job.progress or {}).get("fraction")
                    if fraction is not None:
                        text("span", f"{fraction:.0%}", classes="number quiet")
    if models.items:
        _show_models(models.items)
    else:
        empty(
            "There is no restorer yet. Train one on a data set, with a loss of yours.",
            action="Train a restorer" if visitor.may_write else "",
            to="/restorers/train",
        )
    if models.next_cursor is not None:
        link("Older restorers", f"/restorers?cursor={models.next_cursor}", classes="button")
    if visitor.may_write:
        with panel("From elsewhere"):
            DropZone(
                to="/v1/models/import",
                accept=".safetensors,.pth,.pt",
                label="Drop a model's file here, or choose one",
                hint="safetensors, or a state dict as .pth: EDSR, SRResNet, MSRResNet, DnCNN, "
                "RRDBNet (ESRGAN, Real-ESRGAN), SRCNN or Zhao's network",
                on_done=lambda made: ui.navigate.to(f"/restorers/{made['id']}"),
            )


def _show_models(models: list[Model]) -> None:
    with ui.element("ul").classes("model-list"):
        for model in models:
            manifest = model.manifest
            with ui.element("li").classes("panel model-card"):
                with ui.element("div").classes("row head-row"):
                    link(model.name or model.id, f"/restorers/{model.id}", classes="model-name")
                    moment(model.created)
                text("p", words.task(manifest["task"]))
                with ui.element("dl").classes("facts"):
                    text("dt", "Network")
                    text("dd", words.network(manifest["network"]))
                    text("dt", "Loss")
                    text("dd", words.loss(manifest["loss"]))
                    for figure in words.figures(manifest["metrics"]):
                        text("dt", figure.name)
                        text("dd", f"{figure.restored} (input {figure.degraded})")
                with ui.element("div").classes("row"):
                    restore = link("Restore with it", f"/restore?model={model.id}")
                    restore.props["aria-label"] = f"Restore with {model.name or model.id}"
