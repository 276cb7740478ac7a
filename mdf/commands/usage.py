"""`mdf usage`: what owners have on the server."""

from collections.abc import Callable
from typing import Annotated

import typer

from mdf.client import Client, Quotas, Usage
from mdf.commands.connection import ApiKey, AsJson, Url, connect
from mdf.commands.terminal import print_fields, print_json, print_table, size


def usage(
    *,
    owner: Annotated[
        str | None,
        typer.Option("--owner", help="Whose; others' need an admin's key.", show_default="yours"),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Of every owner; needs an admin's key.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Show what is stored, waits and runs, and how much of it is allowed."""
    if every and owner is not None:
        raise typer.BadParameter("--owner and --all exclude each other")
    with connect(url, api_key) as client:
        if every:
            _show_all(client, as_json=as_json)
        else:
            _show_one(client, owner, as_json=as_json)


def _show_one(client: Client, owner: str | None, *, as_json: bool) -> None:
    used = client.usage(owner)
    if as_json:
        print_json(used)
        return
    # Of others only what they have is known, not what their keys allow.
    quotas = (client.me().quotas if owner is None else None) or Quotas()
    print_table(
        ("KIND", "NUMBER", "SIZE"),
        [(kind, str(use.count), size(use.size)) for kind, use in used.kinds.items()],
        first_column=len("checkpoints"),
    )
    print_fields(
        {
            "owner": used.owner,
            "stored": size(used.stored_bytes) + _of(quotas.stored_bytes, size),
            "jobs queued": str(used.queued_jobs) + _of(quotas.queued_jobs, str),
            "jobs running": str(used.running_jobs) + _of(quotas.running_jobs, str),
            "requests a minute": None
            if quotas.requests_per_minute is None
            else f"{quotas.requests_per_minute} allowed",
        }
    )


def _show_all(client: Client, *, as_json: bool) -> None:
    found = client.all_usage()
    if as_json:
        print_json(found)
        return
    print_table(
        ("OWNER", "STORED", "IMAGES", "DATA SETS", "LOSSES", "MODELS", "QUEUED", "RUNNING"),
        [_row(used) for used in found],
        first_column=len("OWNER"),
    )


def _row(used: Usage) -> tuple[str, ...]:
    kinds = (used.kinds[kind] for kind in ("images", "datasets", "losses", "models"))
    return (
        used.owner,
        size(used.stored_bytes),
        *(str(use.count) for use in kinds),
        str(used.queued_jobs),
        str(used.running_jobs),
    )


def _of(allowed: int | None, shown: Callable[[int], str]) -> str:
    return "" if allowed is None else f" of {shown(allowed)}"
