"""`mdf train`: from seed images to a loss, on a server or in this process."""

from pathlib import Path
from typing import Annotated

import typer

from mdf.client import Client, Job, Loss
from mdf.client.ids import is_id
from mdf.commands.connection import ApiKey, AsJson, Url, connect
from mdf.commands.estimate import EstimateOnly, check_on_server, print_estimate
from mdf.commands.following import watch_to_success
from mdf.commands.task import Quality, Set, Sigma, TaskName, read_settings, read_task
from mdf.commands.terminal import file_name, note, out, print_json

PresetName = Annotated[
    str, typer.Option("--preset", metavar="paper|published|quick", help="Recipe to start from.")
]


def train(
    seeds: Annotated[
        list[str],
        typer.Argument(metavar="SEED...", help="Image files, or ids of images on the server."),
    ],
    *,
    task: TaskName = "jpeg",
    sigma: Sigma = None,
    quality: Quality = None,
    preset: PresetName = "paper",
    settings: Set = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="What to call it.", show_default="the seed's and the task's"),
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
            help="Folder for the loss and its contact sheet; waits for them.",
        ),
    ] = None,
    local: Annotated[
        bool,
        typer.Option(
            "--local",
            help="Train in this process, without a server; Ctrl-C, then the same command, goes on.",
        ),
    ] = False,
    estimate: EstimateOnly = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Train a loss on one or several images. Prints the job's id."""
    check_on_server(estimate=estimate, local=local)
    _check_files(seeds, local=local)
    wanted = read_task(task, sigma=sigma, quality=quality)
    recipe = read_settings(settings)
    title = name or f"{Path(seeds[0]).stem}-{wanted.get('kind', 'custom')}"
    if local:
        from mdf.commands.local import train_here

        paths = train_here(
            [Path(seed) for seed in seeds],
            task=wanted,
            preset=preset,
            recipe=recipe,
            folder=folder or Path(),
            stem=file_name(title),
        )
        print_result(None, paths, as_json=as_json)
        return
    paths = []
    with connect(url, api_key) as client:
        if estimate:
            training = client.loss_training(seeds, wanted, preset=preset, recipe=recipe)
            print_estimate(client.jobs.estimate(training), as_json=as_json)
            return
        job = client.train(seeds, wanted, preset=preset, recipe=recipe, name=title)
        if not as_json:
            out.print(job.id)
        if not follow and folder is None:
            note(f"Watch it: mdf jobs follow {job.id}")
        else:
            job = watch_to_success(client, job)
            if folder is not None:
                paths = download(
                    client, client.losses.get(str(job.loss_id)), folder, file_name(title)
                )
    print_result(job, paths, as_json=as_json)


def download(client: Client, loss: Loss, folder: Path, stem: str) -> list[Path]:
    """Save a trained loss and its contact sheet in `folder`."""
    paths = [client.losses.download(loss.id, folder / f"{stem}.safetensors")]
    if loss.job_id is not None:
        sheet = folder / f"{stem}-contact-sheet.png"
        paths.append(client.jobs.download_artifact(loss.job_id, "contact_sheet", sheet))
    return paths


def _check_files(seeds: list[str], *, local: bool) -> None:
    for seed in seeds:
        if is_id(seed, "img") and not local:
            continue
        if not Path(seed).is_file():
            raise typer.BadParameter(f"there is no file {seed}", param_hint="SEED")


def print_result(job: Job | None, paths: list[Path], *, as_json: bool) -> None:
    """Print where the files are; with JSON also the job."""
    if as_json:
        print_json({"job": job, "files": [str(path) for path in paths]})
    else:
        for path in paths:
            out.print(str(path), markup=False, soft_wrap=True)
