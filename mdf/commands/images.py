"""`mdf images`: the pictures on the server."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from mdf.client import Image
from mdf.commands.connection import ApiKey, AsJson, Limit, Url, connect
from mdf.commands.task import Set, read_settings
from mdf.commands.terminal import age, out, print_json, print_table, size, tell_deleted

app = typer.Typer(help="Upload and list images.", no_args_is_help=True)


@app.command("ls")
def list_images(
    limit: Limit = 20, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """List images, newest first."""
    with connect(url, api_key) as client:
        images = list(islice(client.images.iterate(), limit))
    if as_json:
        print_json(images)
        return
    print_table(
        ("IMAGE", "PIXELS", "SIZE", "NAME", "AGE"),
        [
            (
                image.id,
                f"{image.width}×{image.height}",
                size(image.size),
                image.name,
                age(image.created),
            )
            for image in images
        ],
    )


@app.command()
def upload(
    files: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, help="PNG, JPEG, WebP or TIFF.")
    ],
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Store images; the same pixels are stored once."""
    with connect(url, api_key) as client:
        images = [client.images.upload(file) for file in files]
    _print_ids(images, as_json=as_json)


@app.command()
def synthesize(
    kind: Annotated[str, typer.Argument(help="pink-noise, contrast-rings or pyramid-permutation.")],
    settings: Set = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Make a synthetic seed image."""
    with connect(url, api_key) as client:
        image = client.images.synthesize(kind, **read_settings(settings))
    _print_ids([image], as_json=as_json)


@app.command("rm")
def remove(
    image_ids: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Ids of images.")],
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Remove images that no unfinished job needs."""
    with connect(url, api_key) as client:
        tell_deleted(map(client.images.delete, image_ids), as_json=as_json)


def _print_ids(images: list[Image], *, as_json: bool) -> None:
    if as_json:
        print_json(images)
    else:
        for image in images:
            out.print(image.id)
