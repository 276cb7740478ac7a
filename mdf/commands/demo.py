"""`mdf demo`: from a photograph to a loss, what it sees, and a restorer trained with it."""

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from mdf.client import Client, Image, Job
from mdf.commands import sensitivity
from mdf.commands.checkout import server_code, shield_children
from mdf.commands.comparison_picture import draw_comparison
from mdf.commands.demo_jobs import take_up, watch_to_result
from mdf.commands.demo_restoration import Restorations, train_and_restore
from mdf.commands.faults import INTERRUPTED
from mdf.commands.task import Quality, Set, Sigma, TaskName, read_settings, read_task
from mdf.commands.terminal import (
    describe_task,
    duration,
    file_name,
    note,
    out,
    print_json,
    print_uncut,
)
from mdf.commands.train import download

if TYPE_CHECKING:
    from mdf.loss import MDFLoss

_DEFAULT_SEED = "astronaut"


def demo(
    *,
    seed: Annotated[
        Path | None,
        typer.Option(
            "--seed",
            exists=True,
            dir_okay=False,
            help="The photograph to train on.",
            show_default="scikit-image's astronaut",
        ),
    ] = None,
    task: TaskName = "jpeg",
    sigma: Sigma = None,
    quality: Quality = None,
    settings: Set = None,
    folder: Annotated[
        Path,
        typer.Option(
            "--out", "-o", file_okay=False, help="Folder for the results and the service's data."
        ),
    ] = Path("mdf-demo"),
    restorer_settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set-restorer",
            metavar="NAME=VALUE",
            help="Change a hyperparameter of the two restorers; may be repeated.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Train a loss on one photograph, and restorers with it and without, with a server of its own.

    Shows what the loss sees, and what both restorers make of a photograph that they never saw.
    """
    from mdf.loading import load_loss

    wanted = read_task(task, sigma=sigma, quality=quality)
    recipe, restorer_recipe = read_settings(settings), read_settings(restorer_settings)
    began = time.monotonic()
    try:
        with _own_server(folder / "service") as client:
            image = _upload(client, seed)
            note(f"Photograph  {image.name}, {image.width}×{image.height}")
            job = _train(client, image, wanted, recipe)
            stem = file_name(f"{Path(image.name).stem}-{job.spec['task']['kind']}")
            files = download(client, client.losses.get(str(job.loss_id)), folder, stem)
            loss = load_loss(files[0])
            rows, names = _measure(loss, job.spec["task"], image)
            if not as_json:
                out.print(
                    "\nThe loss between photographs it never saw and their distorted versions:\n"
                )
                print_uncut(_table(rows, names))
            restorations = train_and_restore(
                client,
                job,
                loss,
                folder=folder,
                stem=stem,
                recipe=restorer_recipe,
            )
    except KeyboardInterrupt:
        note("Stopped. The same command goes on from the last checkpoint.")
        raise typer.Exit(INTERRUPTED) from None
    picture = folder / f"{stem}-comparison.png"
    picture.write_bytes(_draw(restorations))
    files += [*restorations.models.values(), picture]
    if as_json:
        print_json(
            {
                "job": job,
                "files": [str(file) for file in files],
                "sensitivity": rows,
                "restoration": {each.name: each.scores for each in restorations.versions},
            }
        )
        return
    out.print("\nA photograph that none of the trainings saw, degraded and restored:\n")
    print_uncut(_score_table(restorations))
    out.print(f"\n{_verdict(restorations)}", markup=False, soft_wrap=True)
    out.print(
        _USE.format(
            loss=files[0], sheet=files[1], picture=picture, model=restorations.models["MDF"]
        ),
        markup=False,
        soft_wrap=True,
    )
    note(f"\nThe demo took {duration(time.monotonic() - began)}")


_USE = """
Side by side        {picture}
The loss            {loss}
What it has learned {sheet}
The restorer        {model}

In your training loop:

    import mdf
    loss = mdf.load_loss("{loss}")
    value = loss(restored, target)  # both (N, 3, H, W) in [0, 1]

On your images:

    mdf restore damaged.jpg --local --model {model}"""


@contextmanager
def _own_server(home: Path) -> Iterator[Client]:
    """A service with its data in `home`, on a free port of the loopback, and a client for it.

    It is not the one that the environment's settings may name.
    """
    for name in ("MDF_DATABASE_URL", "MDF_REDIS_URL", "MDF_BLOB_URL", "MDF_URL", "MDF_API_KEY"):
        os.environ.pop(name, None)
    os.environ.update(MDF_HOME=str(home), MDF_HOST="127.0.0.1", MDF_PORT=str(_free_port()))
    shield_children()
    with server_code():
        from services.embedded.stack import Stack
        from services.settings import load_settings

        note("Starting    broker, worker and API …")
        with Stack(load_settings(), tell=note) as stack, Client(stack.url) as client:
            yield client


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _upload(client: Client, seed: Path | None) -> Image:
    if seed is not None:
        return client.images.upload(seed)
    import PIL.Image

    png = BytesIO()
    PIL.Image.fromarray(sensitivity.photograph(_DEFAULT_SEED)).save(png, "PNG")
    return client.images.upload(png.getvalue(), name=f"{_DEFAULT_SEED}.png")


def _train(client: Client, image: Image, task: Mapping[str, Any], recipe: Mapping[str, Any]) -> Job:
    """The loss's job, done: of an earlier demo, taken up where that stopped, or a new one."""
    title = f"{Path(image.name).stem}-{task['kind']}"
    request = {"image": image.id, "task": task, "recipe": recipe}
    job = take_up(
        client,
        title,
        request,
        lambda name: client.train(image, task, preset="quick", recipe=recipe, name=name),
    )
    note(f"Training    {describe_task(job.spec['task'])}, preset quick")
    job = watch_to_result(client, job)
    note(f"Trained     in {duration(job.run_seconds)}")
    return job


def _measure(
    loss: "MDFLoss", task: Mapping[str, Any], seed: Image
) -> tuple[list[sensitivity.Row], list[str]]:
    seen = Path(seed.name).stem
    names = [name for name in sensitivity.PHOTOGRAPHS if name != seen][:3]
    with server_code():
        return sensitivity.measure(loss, task, names), names


def _table(rows: Sequence[sensitivity.Row], names: Sequence[str]) -> Table:
    table = _empty_table("PSNR", *names, "mean")
    for row in rows:
        values = (f"{value:.4g}" for value in (*row.values, row.mean))
        table.add_row(row.name, f"{row.psnr:.1f} dB", *values, style=None if row.own else "dim")
    return table


def _score_table(restorations: Restorations) -> Table:
    """Metrics below each other, versions side by side."""
    table = _empty_table("", *(version.name for version in restorations.versions))
    for metric in restorations.metrics:
        scores = [version.scores[metric.label] for version in restorations.versions]
        best = max(scores) if metric.higher_is_better else min(scores)
        cells = [Text(metric.show(score), "bold" if score == best else "") for score in scores]
        table.add_row(metric.label, "higher" if metric.higher_is_better else "lower", *cells)
    return table


def _empty_table(*headings: str) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        header_style="bold",
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _verdict(restorations: Restorations) -> str:
    """Which of the two restorers is ahead in what, and how far that goes."""
    *_, l2, mdf = restorations.versions
    ahead: dict[str, list[str]] = {l2.name: [], mdf.name: []}
    for metric in restorations.metrics:
        one, other = l2.scores[metric.label], mdf.scores[metric.label]
        if one != other:
            l2_is_ahead = (one > other) == metric.higher_is_better
            ahead[l2.name if l2_is_ahead else mdf.name].append(metric.label)
    told = "; ".join(f"{name} in {', '.join(labels)}" for name, labels in ahead.items() if labels)
    return (
        f"Ahead on this photograph: {told or 'neither'}. {restorations.iterations} iterations on "
        f"{restorations.trained_on} photographs show how it is done, not which loss is better."
    )


def _draw(restorations: Restorations) -> bytes:
    columns: list[tuple[str, Any, dict[str, str]]] = [("original", restorations.original, {})]
    for version in restorations.versions:
        scores = {
            metric.label: metric.show(version.scores[metric.label])
            for metric in restorations.metrics
        }
        columns.append((version.name, version.pixels, scores))
    return draw_comparison(restorations.title, columns)
