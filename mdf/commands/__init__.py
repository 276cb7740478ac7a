"""The command line, `mdf`: one file per command or group of commands.

Results go to standard output, as text for people or, with `--json`, for programs;
everything else goes to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage,
130 interrupted.
"""

from importlib.metadata import version
from typing import Annotated

import typer

from mdf.commands import datasets, evaluations, images, jobs, keys, losses, models, webhooks
from mdf.commands.backup import backup, restore_backup
from mdf.commands.demo import demo
from mdf.commands.evaluate import evaluate
from mdf.commands.faults import FaultBoundary
from mdf.commands.migrate import migrate
from mdf.commands.restore import restore
from mdf.commands.restore_train import restore_train
from mdf.commands.serve import serve
from mdf.commands.storage import storage
from mdf.commands.terminal import out
from mdf.commands.train import train
from mdf.commands.usage import usage

app = typer.Typer(
    name="mdf",
    cls=FaultBoundary,
    help="Train the loss that an image-restoration network learns from, on one image; the network; "
    "restore images, and compare networks by measurement.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    serve,
    demo,
    train,
    restore_train,
    restore,
    evaluate,
    usage,
    migrate,
    backup,
    restore_backup,
    storage,
):
    app.command(command.__name__.replace("_", "-"))(command)
app.add_typer(jobs.app, name="jobs")
app.add_typer(losses.app, name="losses")
app.add_typer(models.app, name="models")
app.add_typer(evaluations.app, name="evaluations")
app.add_typer(images.app, name="images")
app.add_typer(datasets.app, name="datasets")
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"mdf {version('mdf')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line."""
    app(prog_name="mdf")
