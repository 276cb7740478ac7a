"""`mdf models`: the catalogue of trained and imported restoration networks."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from mdf.client import Model
from mdf.commands.connection import ApiKey, AsJson, Limit, Url, connect
from mdf.commands.publications import delete, print_card, save
from mdf.commands.task import (
    Factor,
    Quality,
    Sigma,
    read_kind,
    read_restoration_task,
)
from mdf.commands.terminal import (
    age,
    describe_loss,
    describe_network,
    describe_task,
    out,
    print_json,
    print_table,
    size,
)

app = typer.Typer(help="Download and import restoration networks.", no_args_is_help=True)

ModelId = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id.")]


@app.command("ls")
def list_models(
    limit: Limit = 20, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """List models, newest first."""
    with connect(url, api_key) as client:
        models = list(islice(client.models.iterate(), limit))
    if as_json:
        print_json(models)
        return
    print_table(
        ("MODEL", "NETWORK", "TASK", "LOSS", "SIZE", "NAME", "AGE"),
        [
            (
                model.id,
                describe_network(model.manifest.get("network") or {}),
                describe_task(model.manifest.get("task") or {}),
                describe_loss(model.manifest.get("loss") or {}),
                _size(model),
                model.name,
                age(model.created),
            )
            for model in models
        ],
        first_column=len("model_") + 32,
    )


@app.command()
def get(
    model_id: ModelId,
    *,
    file_format: Annotated[
        str, typer.Option("--format", metavar="safetensors|onnx|pt2", help="Form of the file.")
    ] = "safetensors",
    target: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File or folder.", show_default="the model's name"),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Download a model."""
    with connect(url, api_key) as client:
        save(client.models, model_id, target, file_format=file_format, as_json=as_json)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The model's file.")],
    *,
    name: Annotated[
        str | None, typer.Option("--name", help="What to call it.", show_default="the file's name")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="KIND|JSON|FILE.json",
            help="What it is, where its weights do not tell.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="jpeg|denoising|sisr|demosaicking|FILE.json",
            help="What a public checkpoint was trained for.",
        ),
    ] = None,
    sigma: Sigma = None,
    quality: Quality = None,
    factor: Factor = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Add a model file to the catalogue: ours, or a public checkpoint of a known network."""
    known_task = read_restoration_task(task, sigma=sigma, quality=quality, factor=factor)
    known_network = None if network is None else read_kind(network, "--network")
    with connect(url, api_key) as client:
        model = client.models.import_file(file, name=name, network=known_network, task=known_task)
    if as_json:
        print_json(model)
    else:
        out.print(model.id)


@app.command()
def card(
    model_id: ModelId, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """Print what a model is: network, task, loss, data, figures, how to use it."""
    with connect(url, api_key) as client:
        print_card(client.models, model_id, as_json=as_json)


@app.command("rm")
def remove(
    model_ids: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Ids of models.")],
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Remove models that no unfinished job needs, and their files."""
    with connect(url, api_key) as client:
        delete(client.models, model_ids, as_json=as_json)


def _size(model: Model) -> str:
    return size(model.files[0].size) if model.files else ""
