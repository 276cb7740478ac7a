"""`mdf losses`: the catalogue of trained and imported losses."""

from base64 import b64decode
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from mdf.client import Client
from mdf.client.ids import is_id
from mdf.commands.connection import ApiKey, AsJson, Limit, Url, connect
from mdf.commands.publications import delete, print_card, save
from mdf.commands.task import Quality, Sigma, read_task
from mdf.commands.terminal import (
    age,
    describe_task,
    file_name,
    note,
    out,
    print_fields,
    print_json,
    print_table,
    size,
)

app = typer.Typer(help="Download, import and compare losses.", no_args_is_help=True)

LossId = Annotated[str, typer.Argument(metavar="LOSS", help="A loss's id.")]


@app.command("ls")
def list_losses(
    limit: Limit = 20, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """List losses, newest first."""
    with connect(url, api_key) as client:
        losses = list(islice(client.losses.iterate(), limit))
    if as_json:
        print_json(losses)
        return
    print_table(
        ("LOSS", "TASK", "SCALES", "SIZE", "NAME", "AGE"),
        [
            (
                loss.id,
                describe_task(loss.manifest.get("task", {})),
                str(len(loss.manifest.get("widths", ()))),
                size(loss.files[0].size) if loss.files else "",
                loss.name,
                age(loss.created),
            )
            for loss in losses
        ],
    )


@app.command()
def get(
    loss_id: LossId,
    *,
    file_format: Annotated[
        str, typer.Option("--format", metavar="safetensors|pth|pt2", help="Form of the file.")
    ] = "safetensors",
    target: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File or folder.", show_default="the loss's name"),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Download a loss."""
    with connect(url, api_key) as client:
        save(client.losses, loss_id, target, file_format=file_format, as_json=as_json)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The loss's file.")],
    *,
    name: Annotated[
        str | None, typer.Option("--name", help="What to call it.", show_default="the file's name")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="jpeg|denoising|sisr|FILE.json",
            help="What a published file was trained for.",
        ),
    ] = None,
    sigma: Sigma = None,
    quality: Quality = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Add a loss file to the catalogue: ours, or the authors' published .pth."""
    known_task = None if task is None else read_task(task, sigma=sigma, quality=quality)
    with connect(url, api_key) as client:
        loss = client.losses.import_file(file, name=name, task=known_task)
    if as_json:
        print_json(loss)
    else:
        out.print(loss.id)


@app.command()
def card(loss_id: LossId, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """Print what a loss is: origin, recipe, seeds, how to use it."""
    with connect(url, api_key) as client:
        print_card(client.losses, loss_id, as_json=as_json)


@app.command()
def compare(
    loss_id: LossId,
    image: Annotated[str, typer.Argument(help="The image to judge: a file, or an image's id.")],
    reference: Annotated[str, typer.Argument(help="What it should be: a file or an id.")],
    *,
    maps: Annotated[
        Path | None, typer.Option("--maps", help="Folder for a difference map per scale and tap.")
    ] = None,
    gradient: Annotated[
        Path | None,
        typer.Option("--gradient", help="PNG of which way the loss would push each pixel."),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Compute a loss between two images, with its share per scale and tap."""
    with connect(url, api_key) as client:
        comparison = client.losses.compare(
            loss_id,
            _image_id(client, image),
            _image_id(client, reference),
            maps=maps is not None,
            gradient=gradient is not None,
        )
    if maps is not None:
        maps.mkdir(parents=True, exist_ok=True)
        for one in comparison.maps:
            name = f"scale-{one.scale}-{file_name(one.tap)}.png"
            (maps / name).write_bytes(b64decode(one.png_base64))
        note(f"{len(comparison.maps)} maps in {maps}")
    if gradient is not None and comparison.gradient is not None:
        gradient.write_bytes(b64decode(comparison.gradient.png_base64))
        note(f"{gradient}: red is pushed brighter, blue darker")
    if as_json:
        print_json(comparison)
        return
    taps = list(dict.fromkeys(term.tap for term in comparison.terms))
    shares = {(term.scale, term.tap): term.value for term in comparison.terms}
    scales = sorted({term.scale for term in comparison.terms})
    print_fields({"loss": f"{comparison.value:.6g}"})
    print_table(
        ("SCALE", *taps),
        [(str(scale), *(f"{shares[scale, tap]:.4g}" for tap in taps)) for scale in scales],
        first_column=5,
    )


@app.command("rm")
def remove(
    loss_ids: Annotated[list[str], typer.Argument(metavar="LOSS...", help="Ids of losses.")],
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Remove losses and their files."""
    with connect(url, api_key) as client:
        delete(client.losses, loss_ids, as_json=as_json)


def _image_id(client: Client, image: str) -> str:
    return image if is_id(image, "img") else client.images.upload(image).id
