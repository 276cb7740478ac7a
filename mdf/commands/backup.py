"""`mdf backup` and `mdf restore-backup`: all that an embedded installation keeps, as one file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdf.commands.byte_display import show_bytes
from mdf.commands.checkout import server_code
from mdf.commands.connection import AsJson
from mdf.commands.interruption import interrupting_signals
from mdf.commands.terminal import note, out, print_json, size

if TYPE_CHECKING:
    from services.backup import Backup

Home = Annotated[
    Path | None,
    typer.Option(
        "--home", help="The installation's folder.", show_default="MDF_HOME or ~/.local/share/mdf"
    ),
]
_SHOWN = 5


def backup(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="The new file, such as mdf.tar.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Save everything that this machine's service keeps, also while it runs. Prints the file."""
    _name_home(home)
    with interrupting_signals(), server_code(), show_bytes("saving") as on_bytes:
        from services.backup import back_up
        from services.settings import load_settings

        made = back_up(load_settings(), file, on_bytes=on_bytes)
    for keys, fault in ((made.missing, "is missing"), (made.damaged, "is damaged")):
        for key in keys[:_SHOWN]:
            note(f"warning: {key} {fault}, in the installation already")
        if len(keys) > _SHOWN:
            note(f"warning: so {fault} for {len(keys) - _SHOWN} more files")
    _tell(made, file, as_json=as_json)


def restore_backup(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="What `mdf backup` has made.")
    ],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make an installation of a backup, in a folder that is empty or not there yet.

    Nothing is left of one that fails. Afterwards `mdf serve` goes on with its jobs.
    """
    _name_home(home)
    with interrupting_signals(), server_code(), show_bytes("restoring") as on_bytes:
        from services.backup import restore
        from services.settings import load_settings

        settings = load_settings()
        made = restore(settings, file, on_bytes=on_bytes)
    _tell(made, settings.home_folder, as_json=as_json)


def _name_home(home: Path | None) -> None:
    if home is not None:
        os.environ["MDF_HOME"] = str(home)


def _tell(made: "Backup", path: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "path": str(path),
                "created": made.created,
                "files": len(made.digests),
                "size": made.size,
                "missing": made.missing,
                "damaged": made.damaged,
            }
        )
        return
    out.print(str(path), markup=False, soft_wrap=True)
    note(f"{len(made.digests)} files, {size(made.size)}, as of {made.created}")
