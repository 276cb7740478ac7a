"""`mdf storage`: what fills the disk of the server, and what of it nobody needs."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from mdf.commands.checkout import server_code
from mdf.commands.connection import AsJson
from mdf.commands.terminal import note, print_json, print_table, size

if TYPE_CHECKING:
    from services.installation import Installation
    from services.retention.survey import Survey

_SHOWN = 5


def storage(
    *,
    sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Free now what nothing refers to and what is past its time."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="With --sweep: also if the database knows few files."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what the installation of this machine's settings keeps, by kind.

    Works on its database and files, whether a server runs or not. Orphans are files that
    nothing refers to; workers remove them within an hour or two.
    """
    with server_code():
        from services.installation import Installation
        from services.retention.survey import survey
        from services.settings import load_settings

        with Installation.at_this_version(load_settings()) as installation:
            freed = _sweep(installation, force=force) if sweep else None
            found = survey(installation)
    if as_json:
        print_json(_plain(found) | ({} if freed is None else {"bytes_freed": freed}))
        return
    _print(found)
    if freed is not None:
        note(f"freed {size(freed)}")
    elif found.orphan_size:
        note("Free the orphans now: mdf storage --sweep")


def _sweep(installation: "Installation", *, force: bool) -> int:
    from services.retention import expiry, orphans

    freed = expiry.expire(installation)
    return freed + sum(entry.size for entry in orphans.remove(installation, however_many=force))


def _print(found: "Survey") -> None:
    rows: list[tuple[str | Text, ...]] = [
        (
            kept.name,
            str(kept.files),
            size(kept.size),
            Text(f"{kept.orphans}, {size(kept.orphan_size)}" if kept.orphans else "", "yellow"),
        )
        for kept in found.kinds
    ]
    rows.append((Text("all", "bold"), "", size(found.size), ""))
    print_table(("KIND", "FILES", "SIZE", "ORPHANS"), rows, first_column=len("checkpoints"))
    if found.free is not None:
        note(f"free on the disk: {size(found.free)}")
    for key in found.missing[:_SHOWN]:
        note(f"warning: {key} is missing: downloads of what it belongs to fail")
    if len(found.missing) > _SHOWN:
        note(f"warning: {len(found.missing) - _SHOWN} more files are missing")


def _plain(found: "Survey") -> dict[str, object]:
    return {
        "kinds": [
            {
                "kind": kept.name,
                "files": kept.files,
                "bytes": kept.size,
                "orphans": kept.orphans,
                "orphan_bytes": kept.orphan_size,
            }
            for kept in found.kinds
        ],
        "bytes": found.size,
        "orphan_bytes": found.orphan_size,
        "free_bytes": found.free,
        "missing": list(found.missing),
    }
