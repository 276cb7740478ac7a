"""One restorer: what it is, how good it was in validation, its files."""

import json

from nicegui import ui
from sqlalchemy.orm import Session

from api.studio.elements.deletion import deletion
from api.studio.elements.ids import code, copy_button, short_id
from api.studio.elements.naming import naming
from api.studio.elements.times import moment
from api.studio.frame import heading, link, page, panel, style, text
from api.studio.pages.restorers import words
from api.studio.visitor import Visitor
from api.studio.wording import count, size
from services.access import Caller
from services.database.schema import Model, ModelFile
from services.installation import Installation
from services.restorers import catalogue
from services.restorers.card import write_card

_USES = {
    "safetensors": "weights and manifest, as this service reads them",
    "onnx": "for ONNX Runtime and its kin: `image` in, `restored` out",
    "pt2": "for torch alone: torch.export.load(…).module()",
}


@page("/restorers/{model_id}", title="Restorer")
async def show(visitor: Visitor, model_id: str) -> None:
    """The page."""
    style("restorers")

    def ask(session: Session, caller: Caller) -> tuple[Model, list[ModelFile]]:
        return catalogue.get(session, model_id, caller), catalogue.files(session, model_id)

    model, files = await visitor.read(ask)
    with ui.element("div").classes("row head-row"):
        heading(model.name or "A restorer", lead=words.task(model.manifest["task"]))
        with ui.element("div").classes("row"):
            link("Restore with it", f"/restore?model={model.id}", classes="button")
    with ui.element("div").classes("columns"):
        with panel("What it is"):
            _show_facts(model)
        with panel("In validation"):
            _show_figures(model)
        with panel("Files"):
            _show_files(model, files)
    with panel("Use"):
        code(f"mdf restore photograph.png --model {model.id}", of="command that restores an image")
        code(_python(model), of="Python that restores an image")
    with panel("Card and manifest"):
        with ui.element("details"):
            text("summary", "Card, as Markdown")
            code(write_card(model, files), of="card")
        with ui.element("details"):
            text("summary", "Manifest, as JSON")
            code(json.dumps(model.manifest, indent=2, ensure_ascii=False), of="manifest")
    if visitor.may_write:
        with panel("Name and end"):
            _offer_name(visitor, model)
            _offer_deletion(visitor, model)


def _show_facts(model: Model) -> None:
    manifest = model.manifest
    dataset = manifest["dataset"]
    with ui.element("dl").classes("facts"):
        text("dt", "Id")
        with ui.element("dd"):
            short_id(model.id)
        text("dt", "Network")
        known = {name: value for name, value in manifest["network"].items() if name != "kind"}
        detail = ", ".join(_in_words(name, value) for name, value in known.items())
        text("dd", f"{words.network(manifest['network'])} ({detail})")
        text("dt", "Loss")
        text("dd", words.loss(manifest["loss"]))
        text("dt", "Iterations")
        text("dd", f"{manifest['iterations']:,}".replace(",", "\u202f"))
        if dataset.get("images") is not None:
            text("dt", "Trained on")
            text("dd", count(dataset["images"], "image"))
        text("dt", "Origin")
        with ui.element("dd"):
            if model.job_id is not None:
                link("its training", f"/runs/{model.job_id}")
            else:
                text("span", manifest["origin"])
        text("dt", "Created")
        with ui.element("dd"):
            moment(model.created)


def _in_words(name: str, value: object) -> str:
    plain = name.replace("_", " ")
    if isinstance(value, bool):
        return f"{'with' if value else 'without'} {plain}"
    return f"{plain} {value}"


def _show_figures(model: Model) -> None:
    metrics = model.manifest["metrics"]
    found = list(words.figures(metrics))
    if not found:
        text("p", "Nothing was measured: it was trained elsewhere.", classes="quiet")
        return
    images = metrics.get("images")
    if images is not None:
        text("p", f"Mean over {count(int(images), 'image')} held out.", classes="quiet")
    with ui.element("div").classes("scroll"), ui.element("table").classes("plain-table"):
        with ui.element("thead"), ui.element("tr"):
            for name, classes in (("Metric", ""), ("Degraded", "number"), ("Restored", "number")):
                text("th", name, classes=classes).props("scope=col")
        with ui.element("tbody"):
            for figure in found:
                with ui.element("tr"):
                    text("th", figure.name).props("scope=row")
                    text("td", figure.degraded, classes="number")
                    text("td", figure.restored, classes="number")


def _show_files(model: Model, files: list[ModelFile]) -> None:
    with ui.element("ul").classes("file-list"):
        for file in files:
            with ui.element("li"):
                anchor = link(
                    f"Download {file.format} ({size(file.size)})",
                    f"/v1/models/{model.id}/content?format={file.format}",
                )
                anchor.props("download")
                text("span", _USES.get(file.format, ""), classes="quiet")
                with ui.element("span").classes("row"):
                    text("code", f"SHA-256 {file.sha256[:12]}…").props["title"] = file.sha256
                    copy_button(file.sha256, of=f"SHA-256 of the {file.format} file")


def _python(model: Model) -> str:
    return (
        "import torch\n\n"
        f'restore = torch.export.load("{model.id}.pt2").module()\n'
        "restored = restore(image)  # (N, C, H, W) in [0, 1]; the result is not clamped"
    )


def _offer_name(visitor: Visitor, model: Model) -> None:
    async def rename(name: str) -> None:
        await visitor.write(
            lambda session, caller: catalogue.rename(session, model.id, name, caller)
        )

    naming(model.name, act=rename)


def _offer_deletion(visitor: Visitor, model: Model) -> None:
    def delete(installation: Installation, caller: Caller) -> int:
        return catalogue.delete(installation.database, installation.blobs, model.id, caller)

    async def act() -> None:
        await visitor.do(delete, needs="write")
        ui.navigate.to("/restorers")

    consequence = "Its files go with it; its training stays in the list of runs."
    deletion(model.name or "this restorer", consequence=consequence, act=act)
