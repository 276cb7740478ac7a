"""`mdf evaluate`: compare restoration networks by measurement."""

from typing import Annotated

import typer

from mdf.client.ids import is_id
from mdf.commands.connection import ApiKey, AsJson, Url, connect
from mdf.commands.datasets import bring
from mdf.commands.evaluations import print_evaluation
from mdf.commands.following import watch_to_success
from mdf.commands.task import Factor, Quality, Sigma, read_restoration_task
from mdf.commands.terminal import note, out, print_json


def evaluate(
    *,
    models: Annotated[
        list[str],
        typer.Option(
            "--model", "-m", metavar="MODEL", help="A model's id, or its file; may be repeated."
        ),
    ],
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            "-d",
            metavar="DATASET",
            help="A folder of images, a zip or tar of them, or a data set's id.",
        ),
    ],
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="METRIC",
            help="psnr, ssim, ms_ssim, iw_ssim, gmsd, fsim, fsimc, l1, l2, lpips; may be repeated.",
            show_default="psnr ssim",
        ),
    ] = None,
    losses: Annotated[
        list[str] | None,
        typer.Option(
            "--loss", metavar="LOSS", help="An MDF loss to score by too: its id, or its file."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="TASK",
            help="jpeg, denoising, sisr, demosaicking, or a .json file.",
            show_default="the models' own",
        ),
    ] = None,
    sigma: Sigma = None,
    quality: Quality = None,
    factor: Factor = None,
    images: Annotated[
        int | None,
        typer.Option("--images", min=1, help="Take at most so many.", show_default="100"),
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(
            "--crop", min=32, help="Of larger images, the centre, px.", show_default="2048"
        ),
    ] = None,
    random_seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of the degradation.", show_default="0")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What to call it.")] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Wait for the result and print it; Ctrl-C leaves it."),
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Compare models on the same degraded images. Prints the job's id."""
    wanted = read_restoration_task(task, sigma=sigma, quality=quality, factor=factor)
    with connect(url, api_key) as client:
        model_ids = [
            each if is_id(each, "model") else client.models.import_file(each).id for each in models
        ]
        loss_ids = [
            each if is_id(each, "loss") else client.losses.import_file(each).id
            for each in losses or ()
        ]
        job = client.evaluate(
            model_ids,
            bring(client, dataset),
            metrics=metrics,
            losses=loss_ids,
            task=wanted,
            images=images,
            crop=crop,
            random_seed=random_seed,
            name=name,
        )
        if not as_json:
            out.print(job.id)
        if follow:
            job = watch_to_success(client, job)
            print_evaluation(client.evaluations.get(str(job.evaluation_id)), as_json=as_json)
        elif as_json:
            print_json(job)
        else:
            note(f"Watch it: mdf jobs follow {job.id}")
