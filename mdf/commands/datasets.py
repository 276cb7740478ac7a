"""`mdf datasets`: sets of pictures to train restoration networks on."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from mdf.client import Client, Dataset
from mdf.client.ids import is_id
from mdf.commands.byte_display import show_bytes
from mdf.commands.connection import ApiKey, AsJson, Limit, Url, connect
from mdf.commands.faults import INTERRUPTED
from mdf.commands.following import detach, watch
from mdf.commands.terminal import (
    age,
    file_name,
    moment,
    note,
    out,
    print_fields,
    print_json,
    print_table,
    size,
    tell_deleted,
)

app = typer.Typer(help="Upload sets of pictures, and look at them.", no_args_is_help=True)

DatasetId = Annotated[str, typer.Argument(metavar="DATASET", help="A data set's id.")]

_STATE_STYLES = {"uploading": "cyan", "importing": "blue", "ready": "green", "failed": "red"}
_SHOWN_BAD_FILES = 10


@app.command()
def create(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A zip or tar archive, or a folder of images.")
    ],
    *,
    name: Annotated[
        str | None,
        typer.Option("--name", help="What to call it.", show_default="the source's name"),
    ] = None,
    on_bad_file: Annotated[
        str,
        typer.Option(
            "--on-bad-file",
            metavar="skip|refuse",
            help="Leave out what is no good image, or take none at all.",
        ),
    ] = "skip",
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="DATASET", help="Go on with an upload that was interrupted."
        ),
    ] = None,
    on_server: Annotated[
        bool,
        typer.Option(
            "--on-server",
            help="SOURCE is a folder or bucket prefix that the server's operator allows.",
        ),
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the images are imported.")
    ] = True,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Make a data set. Prints its id."""
    if not on_server and not Path(source).exists():
        raise typer.BadParameter(f"there is no file or folder {source}", param_hint="SOURCE")
    with connect(url, api_key) as client:
        if on_server:
            dataset = client.datasets.import_folder(source, name=name, on_bad_file=on_bad_file)
        else:
            dataset = _upload(
                client, Path(source), name=name, on_bad_file=on_bad_file, dataset_id=resume
            )
        if wait:
            dataset = _wait(client, dataset)
    if as_json:
        print_json(dataset)
    else:
        out.print(dataset.id)
    if dataset.state == "failed":
        raise typer.Exit(1)


@app.command("ls")
def list_datasets(
    limit: Limit = 20, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """List data sets, newest first."""
    with connect(url, api_key) as client:
        datasets = list(islice(client.datasets.iterate(), limit))
    if as_json:
        print_json(datasets)
        return
    print_table(
        ("DATASET", "STATE", "IMAGES", "MEGAPIXELS", "NAME", "AGE"),
        [
            (
                dataset.id,
                _state(dataset),
                str(dataset.images),
                f"{dataset.pixels / 1e6:.1f}",
                dataset.name,
                age(dataset.created),
            )
            for dataset in datasets
        ],
    )


@app.command()
def show(
    dataset_id: DatasetId, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """Show all about one data set, and which files were not taken."""
    with connect(url, api_key) as client:
        dataset = client.datasets.get(dataset_id)
    if as_json:
        print_json(dataset)
        return
    print_fields(_describe(dataset))
    if dataset.bad_files:
        rows = [(bad.name, bad.reason) for bad in dataset.bad_files]
        out.print()
        print_table(("NOT TAKEN", "WHY"), rows, first_column=12)


@app.command("images")
def list_images(
    dataset_id: DatasetId,
    limit: Limit = 100,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """List the images of a data set."""
    with connect(url, api_key) as client:
        images = list(islice(client.datasets.images(dataset_id), limit))
    if as_json:
        print_json(images)
        return
    print_table(
        ("NUMBER", "PIXELS", "SIZE", "NAME"),
        [
            (str(image.position), f"{image.width}×{image.height}", size(image.size), image.name)
            for image in images
        ],
        first_column=6,
    )


@app.command()
def sheet(
    dataset_id: DatasetId,
    *,
    target: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File or folder.", show_default="the data set's name"),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Save thumbnails of the images as one PNG."""
    with connect(url, api_key) as client:
        dataset = client.datasets.get(dataset_id)
        name = f"{file_name(dataset.name) or dataset.id}-sheet.png"
        path = Path(name) if target is None else target / name if target.is_dir() else target
        client.datasets.save_sheet(dataset_id, path)
    if as_json:
        print_json({"id": dataset_id, "path": str(path)})
    else:
        out.print(str(path), markup=False, soft_wrap=True)


@app.command("rm")
def remove(
    dataset_ids: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Their ids.")],
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Remove data sets that no unfinished job uses."""
    with connect(url, api_key) as client:
        tell_deleted(map(client.datasets.delete, dataset_ids), as_json=as_json)


def bring(client: Client, source: str) -> str:
    """The id of a data set that is ready: `source` itself, or that of its files, uploaded."""
    if is_id(source, "ds"):
        return source
    dataset = _wait(client, _upload(client, Path(source)))
    if dataset.state == "failed":
        raise typer.Exit(1)
    return dataset.id


def _upload(
    client: Client,
    source: Path,
    *,
    name: str | None = None,
    on_bad_file: str = "skip",
    dataset_id: str | None = None,
) -> Dataset:
    begun: list[str] = []
    if source.is_dir():
        note(f"packing {source}")
    try:
        with show_bytes("sending") as on_bytes:
            return client.datasets.upload(
                source,
                name=name,
                on_bad_file=on_bad_file,
                dataset_id=dataset_id,
                on_created=lambda dataset: begun.append(dataset.id),
                on_bytes=on_bytes,
            )
    except KeyboardInterrupt:
        if begun:
            note(f"What was sent is kept. Go on: mdf datasets create {source} --resume {begun[0]}")
        raise typer.Exit(INTERRUPTED) from None


def _wait(client: Client, dataset: Dataset) -> Dataset:
    """Watch the import, and tell what has become of it."""
    if not dataset.done and dataset.job_id is not None:
        try:
            watch(client, dataset.job_id)
        except KeyboardInterrupt:
            raise detach(dataset.job_id) from None
    dataset = client.datasets.wait(dataset.id)
    if dataset.error is not None:
        note(f"{dataset.id} ({dataset.name}) failed: {dataset.error}")
        return dataset
    note(f"{dataset.id} ({dataset.name}) is ready: {dataset.images} images")
    for bad in dataset.bad_files[:_SHOWN_BAD_FILES]:
        note(f"not taken: {bad.name}: {bad.reason}")
    more = dataset.bad_file_count - _SHOWN_BAD_FILES
    if more > 0:
        note(f"… and {more} more: mdf datasets show {dataset.id}")
    return dataset


def _state(dataset: Dataset) -> Text:
    return Text(dataset.state, style=_STATE_STYLES.get(dataset.state, ""))


def _describe(dataset: Dataset) -> dict[str, str | Text | None]:
    received = None
    if dataset.size is not None:
        received = f"{size(dataset.received)} of {size(dataset.size)}"
    return {
        "data set": dataset.id,
        "name": dataset.name,
        "state": _state(dataset),
        "error": dataset.error,
        "images": str(dataset.images),
        "pixels": f"{dataset.pixels / 1e6:.1f} megapixels",
        "digest": dataset.digest,
        "archive": received,
        "folder": dataset.source.get("location"),
        "bad files": f"{dataset.bad_file_count}, to {dataset.on_bad_file}",
        "job": dataset.job_id,
        "created": moment(dataset.created),
        "ready": moment(dataset.ready),
    }
