"""`mdf restore-train`: from a data set to a restoration network, on a server or here."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mdf.client import Client, Model
from mdf.client.ids import is_id
from mdf.commands.connection import ApiKey, AsJson, Url, connect
from mdf.commands.datasets import bring
from mdf.commands.estimate import EstimateOnly, check_on_server, print_estimate
from mdf.commands.following import watch_to_success
from mdf.commands.objective import check_loss_file, read_loss, resolve_losses
from mdf.commands.task import (
    Factor,
    Quality,
    Set,
    Sigma,
    read_kind,
    read_restoration_task,
    read_settings,
)
from mdf.commands.terminal import file_name, note, out
from mdf.commands.train import print_result


def restore_train(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="A folder of images, a zip or tar of them, or a data set's id."
        ),
    ],
    *,
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            metavar="PRESET",
            help="Task, network, loss and recipe to start from: quick-dncnn-jpeg, "
            "quick-dncnn-denoising, quick-edsr-sisr; paper-… and zhao-… are for a GPU.",
        ),
    ],
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss",
            metavar="LOSS",
            help="l1, l2, mix, …; an MDF loss by its id or file; or any loss as JSON.",
            show_default="the preset's",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="TASK",
            help="jpeg, denoising, sisr, demosaicking, or a .json file.",
            show_default="the preset's",
        ),
    ] = None,
    sigma: Sigma = None,
    quality: Quality = None,
    factor: Factor = None,
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="KIND|JSON|FILE.json",
            help="dncnn, edsr, srresnet, msrresnet, rrdbnet, zhao, srcnn.",
            show_default="the preset's",
        ),
    ] = None,
    settings: Set = None,
    validation: Annotated[
        str | None,
        typer.Option(
            "--validation",
            metavar="DATASET",
            help="What to validate on.",
            show_default="a tenth of DATASET, held out",
        ),
    ] = None,
    validation_share: Annotated[
        float | None,
        typer.Option(
            "--validation-share",
            min=0.0,
            max=0.5,
            help="Of DATASET, held out instead.",
            show_default="0.1",
        ),
    ] = None,
    start_from: Annotated[
        str | None, typer.Option("--start-from", metavar="MODEL", help="Begin with its weights.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="What to call it.", show_default="the data's and the preset's"),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Watch the training; Ctrl-C leaves it running.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            file_okay=False,
            help="Folder for the model and its contact sheet; waits for them.",
        ),
    ] = None,
    local: Annotated[
        bool,
        typer.Option(
            "--local",
            help="Train in this process on a folder, without a server; Ctrl-C, then the same "
            "command, goes on.",
        ),
    ] = False,
    estimate: EstimateOnly = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Train a restoration network on images of yours. Prints the job's id."""
    check_on_server(estimate=estimate, local=local)
    _check_source(source, "DATASET", local=local)
    if validation is not None:
        _check_source(validation, "--validation", local=local)
    given = {
        "task": read_restoration_task(task, sigma=sigma, quality=quality, factor=factor),
        "network": network and read_kind(network, "--network"),
        "loss": loss and read_loss(loss),
    }
    parts: dict[str, Any] = {part: value for part, value in given.items() if value}
    if validation_share is not None:
        parts["validation_share"] = validation_share
    recipe = read_settings(settings)
    if local:
        from mdf.commands.local_restoration import train_restorer_here

        paths = train_restorer_here(
            Path(source),
            validation=None if validation is None else Path(validation),
            start_from=None if start_from is None else Path(start_from),
            preset=preset,
            parts=parts,
            recipe=recipe,
            folder=folder or Path(),
            stem=file_name(name or _title(Path(source).resolve().stem, preset, loss)),
        )
        print_result(None, paths, as_json=as_json)
        return
    paths = []
    with connect(url, api_key) as client:
        if "loss" in parts:
            parts["loss"] = resolve_losses(parts["loss"], lambda id: _on_server(client, id))
        dataset = client.datasets.get(bring(client, source))
        held_out = None if validation is None else bring(client, validation)
        training: dict[str, Any] = {
            "validation_dataset": held_out,
            "preset": preset,
            **parts,
            "recipe": recipe,
            "start_from": start_from,
        }
        if estimate:
            wanted = client.restorer_training(dataset, **training)
            print_estimate(client.jobs.estimate(wanted), as_json=as_json)
            return
        title = name or _title(Path(dataset.name).stem, preset, loss)
        job = client.train_restorer(dataset, **training, name=title)
        if not as_json:
            out.print(job.id)
        if not follow and folder is None:
            note(f"Watch it: mdf jobs follow {job.id}")
        else:
            job = watch_to_success(client, job)
            if folder is not None:
                model = client.models.get(str(job.model_id))
                paths = download(client, model, folder, file_name(title))
    print_result(job, paths, as_json=as_json)


def download(client: Client, model: Model, folder: Path, stem: str) -> list[Path]:
    """Save a trained model and its contact sheet in `folder`."""
    paths = [client.models.download(model.id, folder / f"{stem}.safetensors")]
    if model.job_id is not None:
        sheet = folder / f"{stem}-contact-sheet.png"
        paths.append(client.jobs.download_artifact(model.job_id, "contact_sheet", sheet))
    return paths


def _on_server(client: Client, loss: str) -> dict[str, str]:
    """The id of a loss, whose file is imported if it is named by that."""
    if is_id(loss, "loss"):
        return {"loss_id": loss}
    return {"loss_id": client.losses.import_file(check_loss_file(loss)).id}


def _check_source(source: str, hint: str, *, local: bool) -> None:
    if is_id(source, "ds") and not local:
        return
    path = Path(source)
    if not path.exists():
        raise typer.BadParameter(f"there is no folder or archive {source}", param_hint=hint)
    if local and not path.is_dir():
        raise typer.BadParameter(
            f"--local reads a folder of images, and {source} is a file: unpack it",
            param_hint=hint,
        )


def _title(data: str, preset: str, loss: str | None) -> str:
    """What tells trainings on other images, or with other losses, apart by name."""
    known = loss is not None and not is_id(loss, "loss") and not loss.lstrip().startswith("{")
    return "-".join([data, preset, Path(str(loss)).stem] if known else [data, preset])
