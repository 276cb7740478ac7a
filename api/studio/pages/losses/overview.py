"""What a loss is and how it was made, its files, its name and its end."""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nicegui import ui
from sqlalchemy.orm import Session

from api.studio.elements.deletion import deletion
from api.studio.elements.ids import code, copy_button, short_id
from api.studio.elements.naming import naming
from api.studio.elements.thumbnails import thumbnail
from api.studio.elements.times import moment
from api.studio.frame import link, panel, text
from api.studio.visitor import Visitor
from api.studio.wording import count, number, size
from services.access import Caller
from services.blobs import BlobDamagedError, BlobMissingError
from services.cards import task_in_words
from services.database.schema import Artifact, Image, Loss, LossFile
from services.images import catalogue as images
from services.installation import Installation
from services.jobs import queries
from services.losses import catalogue
from services.losses.card import write_card

_USES = {
    "safetensors": "weights and manifest: for mdf.load_loss, and to import elsewhere",
    "pth": "state dicts: for mdf.load_loss, or torch.load(…, weights_only=True)",
    "pt2": "a program for torch alone: torch.export.load(…).module()",
}
_TAPS = {
    "published": "the three of the published code: after the head, after the last body block, "
    "and the output",
    "every-relu": "after every ReLU, and the output, as in the paper",
}
_PADDING = {"valid": "without padding", "same": "padded to the same size"}


@dataclass(frozen=True)
class _Known:
    files: list[LossFile]
    seeds: dict[str, Image]
    sheet: Artifact | None


async def show(visitor: Visitor, loss: Loss) -> None:
    """The view."""

    def ask(session: Session, caller: Caller) -> _Known:
        artifacts = queries.artifacts(session, loss.job_id) if loss.job_id else []
        return _Known(
            files=catalogue.files(session, loss.id),
            seeds=images.of_digests(session, loss.manifest["seeds"], caller),
            sheet=next((each for each in artifacts if each.kind == "contact_sheet"), None),
        )

    known = await visitor.read(ask)
    with ui.element("div").classes("columns wide"):
        with panel("Files"):
            _show_files(loss, known.files)
            if visitor.may_write:
                link("Train a restorer with it", f"/restorers/train?loss={loss.id}")
        with panel("What it is"):
            _show_facts(loss)
        with panel("How it was made"):
            _show_making(loss, known.seeds)
    if known.sheet is not None:
        await _show_sheet(visitor, known.sheet)
    with panel("Card, manifest and recipe"):
        with ui.element("details"):
            text("summary", "Card, as Markdown")
            code(write_card(loss, known.files), of="card")
        with ui.element("details"):
            text("summary", "Manifest, as JSON")
            code(json.dumps(loss.manifest, indent=2, ensure_ascii=False), of="manifest")
    if visitor.may_write:
        with panel("Name and end"):
            _offer_name(visitor, loss)
            _offer_deletion(visitor, loss)


def _show_files(loss: Loss, files: list[LossFile]) -> None:
    with ui.element("ul").classes("file-list"):
        for file in sorted(files, key=lambda file: list(_USES).index(file.format)):
            with ui.element("li"):
                anchor = link(
                    f"Download {file.format} ({size(file.size)})",
                    f"/v1/losses/{loss.id}/content?format={file.format}",
                )
                anchor.props("download")
                text("span", _USES[file.format], classes="quiet")
                with ui.element("span").classes("row"):
                    text("code", f"SHA-256 {file.sha256[:12]}…").props["title"] = file.sha256
                    copy_button(file.sha256, of=f"SHA-256 of the {file.format} file")


def _show_facts(loss: Loss) -> None:
    manifest = loss.manifest
    low, high = manifest["value_range"]
    widths = " · ".join(map(str, manifest["widths"]))
    with ui.element("dl").classes("facts"):
        with _fact("Id"):
            short_id(loss.id)
        with _fact("For"):
            text("span", task_in_words(manifest["task"]))
        with _fact("Scales"):
            text("span", count(len(manifest["widths"]), "discriminator"))
        with _fact("Widths"):
            text("span", f"{widths} channels, coarsest scale first")
        with _fact("Each"):
            layers = count(manifest["layers"], "convolution")
            text("span", f"{layers} of 3×3, {_PADDING[manifest['padding']]}")
        with _fact("Compares"):
            text("span", _TAPS[manifest["taps"]])
        with _fact("Smallest image"):
            side = catalogue.smallest_side(loss)
            text("span", f"{side}×{side} px")
        with _fact("Value range"):
            text("span", f"images are given in [0, 1], and mapped to [{low:g}, {high:g}] within")


def _show_making(loss: Loss, seeds: dict[str, Image]) -> None:
    manifest = loss.manifest
    with ui.element("dl").classes("facts"):
        with _fact("Origin"):
            if loss.job_id is not None:
                link("its training", f"/runs/{loss.job_id}")
            else:
                text("span", "imported from a file")
        with _fact("Created"):
            moment(loss.created)
        for place, digest in enumerate(manifest["seeds"], start=1):
            with _fact("Seed" if len(manifest["seeds"]) == 1 else f"Seed {place}"):
                if (seed := seeds.get(digest)) is not None:
                    with ui.element("a").props(f"href=/seed?image={seed.id}"):
                        thumbnail(seed, side=120, words=seed.name or "seed image")
                with ui.element("span").classes("row"):
                    text("code", f"SHA-256 {digest[:12]}…").props["title"] = digest
                    copy_button(digest, of="SHA-256 of the seed's pixels")
        with _fact("Iterations"):
            text("span", _iterations(manifest["iterations"]))
        with _fact("Random seed"):
            known = manifest["random_seed"]
            text("span", "unknown" if known is None else str(known))
        if manifest["software"]:
            with _fact("Software"):
                versions = (f"{name} {version}" for name, version in manifest["software"].items())
                text("span", ", ".join(versions))
    if manifest["recipe"]:
        with ui.element("details"):
            text("summary", "Recipe")
            with ui.element("dl").classes("facts"):
                for name, value in manifest["recipe"].items():
                    with _fact(name.replace("_", " ")):
                        text("span", _plain(value))


async def _show_sheet(visitor: Visitor, sheet: Artifact) -> None:
    def measure(installation: Installation, _: Caller) -> tuple[int, int]:
        try:  # where a PNG says its size
            head = b"".join(installation.blobs.stream(sheet.blob, start=16, length=8))
        except (BlobMissingError, BlobDamagedError):
            return 0, 0
        width, height = struct.unpack(">II", head)
        return width, height

    width, height = await visitor.do(measure)
    if not width:
        return
    address = f"/v1/jobs/{sheet.job_id}/artifacts/contact_sheet/content"
    with panel("How the training went"), ui.element("div").classes("scroll") as box:
        box.props("role=region tabindex=0").props["aria-label"] = "contact sheet of the training"
        shown = ui.element("img").classes("contact-sheet")
        shown.props["src"] = address
        shown.props["width"], shown.props["height"] = width, height
        shown.props["loading"] = "lazy"
        shown.props["alt"] = (
            "one column for each scale, coarsest first: the seed, the generated image, the "
            "discriminator's map of it, and the curves of the losses"
        )


def _offer_name(visitor: Visitor, loss: Loss) -> None:
    async def rename(name: str) -> None:
        await visitor.write(
            lambda session, caller: catalogue.rename(session, loss.id, name, caller)
        )

    naming(loss.name, act=rename)


def _offer_deletion(visitor: Visitor, loss: Loss) -> None:
    def delete(installation: Installation, caller: Caller) -> int:
        return catalogue.delete(installation.database, installation.blobs, loss.id, caller)

    async def act() -> None:
        await visitor.do(delete, needs="write")
        ui.navigate.to("/losses")

    consequence = "Its files go with it; its training stays in the list of runs."
    deletion(f"loss {loss.name}" if loss.name else "this loss", consequence=consequence, act=act)


@contextmanager
def _fact(name: str) -> Iterator[None]:
    text("dt", name)
    with ui.element("dd"):
        yield


def _iterations(done: list[int]) -> str:
    if not any(done):
        return "unknown"
    if len(set(done)) == 1:
        return f"{count(done[0], 'step')} at each scale"
    return " · ".join(map(str, done)) + " steps, coarsest scale first"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)
