"""`mdf demo`: from a photograph to a loss and what it is worth, in a few minutes."""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from mdf.client import Client, Image, Job
from mdf.commands import sensitivity
from mdf.commands.checkout import server_code, shield_children
from mdf.commands.faults import INTERRUPTED, CommandError
from mdf.commands.following import watch
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Train a loss on one photograph and show what it sees, with a server of its own."""
    wanted = read_task(task, sigma=sigma, quality=quality)
    recipe = read_settings(settings)
    try:
        with _own_server(folder / "service") as client:
            image = _upload(client, seed)
            note(f"Photograph  {image.name}, {image.width}×{image.height}")
            job = _train(client, image, wanted, recipe)
            note(f"Training    {describe_task(job.spec['task'])}, preset quick")
            job = watch(client, job.id)
            if not job.succeeded:
                raise CommandError(f"the training {job.state}: {_reason(job)}")
            note(f"Trained     in {duration(job.run_seconds)}")
            files = download(
                client, client.losses.get(str(job.loss_id)), folder, file_name(job.name)
            )
    except KeyboardInterrupt:
        note("Stopped. The same command goes on from the last checkpoint.")
        raise typer.Exit(INTERRUPTED) from None
    rows, names = _measure(files[0], job.spec["task"], image)
    if as_json:
        print_json({"job": job, "files": [str(file) for file in files], "sensitivity": rows})
        return
    out.print("\nThe loss between photographs it never saw and their distorted versions:\n")
    print_uncut(_table(rows, names))
    out.print(_USE.format(loss=files[0], sheet=files[1]), markup=False, soft_wrap=True)


_USE = """
The loss            {loss}
What it has learned {sheet}

In your training loop:

    import mdf
    loss = mdf.load_loss("{loss}")
    value = loss(restored, target)  # both (N, 3, H, W) in [0, 1]"""


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
    """The training that an earlier, interrupted demo has begun, or else a new one."""
    name = f"{Path(image.name).stem}-{task['kind']}"
    job = client.train(image, task, preset="quick", recipe=recipe, name=name)
    for other in client.jobs.iterate():
        if other.done or other.id == job.id:
            continue
        if other.spec == job.spec:
            note("Going on    from where the last demo stopped")
            client.jobs.cancel(job.id)
            return client.jobs.resume(other.id) if other.state == "paused" else other
        client.jobs.cancel(other.id)
    return job


def _reason(job: Job) -> str:
    return "it was canceled" if job.error is None else f"{job.error.message} [{job.error.code}]"


def _measure(
    loss_file: Path, task: Mapping[str, Any], seed: Image
) -> tuple[list[sensitivity.Row], list[str]]:
    import mdf

    seen = Path(seed.name).stem
    names = [name for name in sensitivity.PHOTOGRAPHS if name != seen][:3]
    with server_code():
        return sensitivity.measure(mdf.load_loss(loss_file), task, names), names


def _table(rows: Sequence[sensitivity.Row], names: Sequence[str]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        header_style="bold",
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for heading in ("PSNR", *names, "mean"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        values = (f"{value:.4g}" for value in (*row.values, row.mean))
        table.add_row(row.name, f"{row.psnr:.1f} dB", *values, style=None if row.own else "dim")
    return table
