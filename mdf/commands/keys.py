"""`mdf keys`: who may call the service.

The first key of an installation is made where there is none to show: on the server's own
machine, straight in its database.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Annotated, Protocol

import typer
from rich.text import Text

from mdf.client import ApiKey as Key
from mdf.commands.connection import ApiKey, AsJson, Limit, Url, connect
from mdf.commands.terminal import age, note, out, print_json, print_table
from mdf.errors import UnreachableError

app = typer.Typer(help="Create and revoke API keys.", no_args_is_help=True)

Local = Annotated[
    bool,
    typer.Option(
        "--local",
        help="Work in this machine's database, without the server. Done by itself where no "
        "server is named and none runs.",
    ),
]


class KeyRing(Protocol):
    """Where keys are kept: behind a server, or in this machine's database."""

    def create(self, name: str, *, owner: str | None, scopes: Sequence[str]) -> Key:
        """Make a key."""

    def iterate(self) -> Iterator[Key]:
        """All keys, newest first."""

    def revoke(self, key_id: str) -> None:
        """Refuse the key from now on."""


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    *,
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="read|write|admin",
            help="What it may do; may be repeated.",
            show_default="read and write; the first key: admin too",
        ),
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option(
            "--owner",
            help="Whose objects it sees. Give each person one who shall not see the others'.",
            show_default="yours; where there is no key yet: local",
        ),
    ] = None,
    local: Local = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Make a key and print its token, which is kept nowhere."""
    with _key_ring(url, api_key, local=local) as keys:
        if scopes is None:
            first = all(key.revoked is not None for key in keys.iterate())
            scopes = ["read", "write", "admin"] if first else ["read", "write"]
        key = keys.create(name, owner=owner, scopes=scopes)
    if as_json:
        print_json(key)
        return
    out.print(key.secret, markup=False, soft_wrap=True)
    note(f"{key.id}: {', '.join(key.scopes)}, for {key.owner}. Keep the token; it is not stored.")
    note("Use it: export MDF_API_KEY=…")


@app.command("ls")
def list_keys(
    limit: Limit = 20,
    local: Local = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """List keys, newest first."""
    with _key_ring(url, api_key, local=local) as keys:
        found = list(islice(keys.iterate(), limit))
    if as_json:
        print_json(found)
        return
    print_table(
        ("KEY", "SCOPES", "OWNER", "NAME", "AGE", "USED", ""),
        [
            (
                key.id,
                ", ".join(key.scopes),
                key.owner,
                key.name,
                age(key.created),
                age(key.last_used) if key.last_used else "never",
                Text("revoked", style="red") if key.revoked else "",
            )
            for key in found
        ],
    )


@app.command()
def revoke(
    key_ids: Annotated[list[str], typer.Argument(metavar="KEY...", help="Ids of keys.")],
    local: Local = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Refuse keys from now on."""
    with _key_ring(url, api_key, local=local) as keys:
        for key_id in key_ids:
            keys.revoke(key_id)
            note(f"revoked {key_id}")
    if as_json:
        print_json({"revoked": key_ids})


@contextmanager
def _key_ring(url: str | None, api_key: str | None, *, local: bool) -> Iterator[KeyRing]:
    if not local:
        with connect(url, api_key) as client:
            try:
                client.me()
            except UnreachableError:
                if url is not None:
                    raise
                note("No server runs here: working straight in its database.")
            else:
                yield client.keys
                return
    from mdf.commands.local_keys import open_local_keys

    with open_local_keys() as keys:
        yield keys
