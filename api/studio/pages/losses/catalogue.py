"""All losses, trained and imported."""

from dataclasses import dataclass

from nicegui import ui
from sqlalchemy.orm import Session

from api.studio.elements.ids import short_id
from api.studio.elements.thumbnails import thumbnail
from api.studio.elements.times import moment
from api.studio.elements.upload import DropZone
from api.studio.frame import empty, heading, link, page, panel, style, text
from api.studio.visitor import Visitor
from api.studio.wording import count
from services.access import Caller
from services.cards import task_in_words
from services.database.schema import Image, Job, Loss
from services.images import catalogue as images
from services.listing import Page
from services.losses import catalogue

_LISTED = 30
_THUMBNAIL = 96  # px


@dataclass(frozen=True)
class _Known:
    """A page of losses, and where they come from."""

    losses: Page[Loss]
    jobs: dict[str, Job]  # by loss
    seeds: dict[str, Image]  # by digest of the pixels


@page("/losses", title="Losses")
async def show(visitor: Visitor, cursor: str | None = None) -> None:
    """The page."""
    style("losses")
    with ui.element("div").classes("row head-row"):
        heading("Losses", lead="What a network learns from: trained on one image, for one task.")
        if visitor.may_write:
            link("Train a loss", "/seed", classes="button")

    def ask(session: Session, caller: Caller) -> _Known:
        losses = catalogue.list_losses(session, caller, limit=_LISTED, cursor=cursor)
        digests = {digest for loss in losses.items for digest in loss.manifest["seeds"][:1]}
        return _Known(
            losses=losses,
            jobs=catalogue.trainings(session, losses.items),
            seeds=images.of_digests(session, digests, caller),
        )

    known = await visitor.read(ask)
    if known.losses.items:
        with ui.element("ul").classes("loss-list"):
            for loss in known.losses.items:
                _show_loss(loss, known)
    else:
        empty(
            "There is no loss yet. Train one on a photograph, or drop a loss file below.",
            action="Choose a photograph" if visitor.may_write else "",
            to="/seed",
        )
    if known.losses.next_cursor is not None:
        link("Older losses", f"/losses?cursor={known.losses.next_cursor}", classes="button")
    if visitor.may_write:
        with panel("From elsewhere"):
            DropZone(
                to="/v1/losses/import",
                accept=".safetensors,.pth",
                label="Drop a loss file here, or choose one",
                hint="safetensors or .pth of this service, or a .pth that the authors of the "
                "method have published; no file is executed",
                on_done=lambda made: ui.navigate.to(f"/losses/{made['id']}"),
            )


def _show_loss(loss: Loss, known: _Known) -> None:
    manifest, job = loss.manifest, known.jobs.get(loss.id)
    with ui.element("li").classes("panel loss-card"):
        with ui.element("div").classes("loss-seed"):
            seed = next((known.seeds.get(digest) for digest in manifest["seeds"]), None)
            if seed is not None:
                thumbnail(seed, side=_THUMBNAIL, words="seed image")
            else:
                text("span", "seed not stored here", classes="quiet")
        with ui.element("div").classes("loss-words"):
            link(loss.name or loss.id, f"/losses/{loss.id}", classes="loss-name")
            text("p", f"For {task_in_words(manifest['task'])}")
            with ui.element("p").classes("quiet loss-facts"):
                text("span", count(len(manifest["widths"]), "scale"))
                if job is not None:
                    text("span", f"preset {job.spec['preset']}")
                else:
                    text("span", manifest["origin"])
                moment(loss.created)
            with ui.element("div").classes("row"):
                short_id(loss.id)
                trial = link("Try it", f"/losses/{loss.id}?view=playground")
                trial.props["aria-label"] = f"Try {loss.name or loss.id}"
