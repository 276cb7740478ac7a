"""`mdf serve`: the whole service on one machine."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdf.commands.checkout import server_code, shield_children
from mdf.commands.terminal import note, out, print_fields

if TYPE_CHECKING:
    from services.settings import Settings


def serve(
    *,
    home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            help="Folder for all that is kept.",
            show_default="MDF_HOME or ~/.local/share/mdf",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option("--host", help="Address to listen on.", show_default="MDF_HOST or 127.0.0.1"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=1, max=65535, help="Port to listen on.", show_default="MDF_PORT or 8000"
        ),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            "--slots", min=0, max=64, help="Jobs at a time.", show_default="MDF_SLOTS or 1"
        ),
    ] = None,
) -> None:
    """Run the service until Ctrl-C: broker, workers and API, on this machine."""
    options = {"MDF_HOME": home, "MDF_HOST": host, "MDF_PORT": port, "MDF_SLOTS": slots}
    os.environ.update({name: str(value) for name, value in options.items() if value is not None})
    shield_children()
    with server_code():
        from services.embedded.stack import Stack
        from services.settings import load_settings

        settings = load_settings()
        stack = Stack(settings, tell=note)
        with stack.heeding_signals():
            is_ready = stack.start()
            try:
                if is_ready:
                    _tell_ready(stack.url, settings)
                stack.wait()
                note("Stopping: running jobs save a checkpoint …")
            finally:
                stack.stop()
    note("Stopped.")


def _tell_ready(url: str, settings: "Settings") -> None:
    out.print(f"[bold]MDF is ready at {url}[/]")
    print_fields(
        {
            "  interface": f"{url}/docs",
            "  data": str(settings.home_folder),
            "  jobs at a time": str(settings.slots),
            "  stop": "Ctrl-C; running jobs keep a checkpoint and go on at the next start",
        }
    )
