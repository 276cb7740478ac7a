"""`mdf keys`: who may call the service.

The first key of an installation is made where there is none to show: on the server's own
machine, straight in its database.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Protocol

import typer
from rich.text import Text

from mdf.client import ApiKey as Key
from mdf.client.keys import id_of
from mdf.commands.connection import ApiKey, AsJson, Limit, Url, connect
from mdf.commands.terminal import (
    age,
    note,
    out,
    print_fields,
    print_json,
    print_table,
    size,
)
from mdf.errors import UnreachableError

app = typer.Typer(help="Create, change and revoke API keys.", no_args_is_help=True)

_DEFAULT = "default"
_OTHERWISE = "the service's settings; `default` goes back to them"
RequestsPerMinute = Annotated[
    str | None,
    typer.Option(
        "--requests-per-minute",
        metavar="NUMBER",
        help="How often it may ask, all of it at once if need be.",
        show_default=_OTHERWISE,
    ),
]
StoredBytes = Annotated[
    str | None,
    typer.Option(
        "--stored-bytes",
        metavar="SIZE",
        help="What its owner may have stored for it to store more, such as 20GB.",
        show_default=_OTHERWISE,
    ),
]
QueuedJobs = Annotated[
    str | None,
    typer.Option(
        "--queued-jobs",
        metavar="NUMBER",
        help="How many jobs its owner may have waiting for it to submit more.",
        show_default=_OTHERWISE,
    ),
]
RunningJobs = Annotated[
    str | None,
    typer.Option(
        "--running-jobs",
        metavar="NUMBER",
        help="How many jobs of its owner may run at once for its own to start.",
        show_default=_OTHERWISE,
    ),
]
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

    def create(
        self,
        name: str,
        *,
        owner: str | None,
        scopes: Sequence[str],
        quotas: Mapping[str, int | None] | None,
    ) -> Key:
        """Make a key."""

    def change(
        self, key_id: str, *, name: str | None, quotas: Mapping[str, int | None] | None
    ) -> Key:
        """Rename a key, or set some of its quotas."""

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
    requests_per_minute: RequestsPerMinute = None,
    stored_bytes: StoredBytes = None,
    queued_jobs: QueuedJobs = None,
    running_jobs: RunningJobs = None,
    local: Local = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Make a key and print its token, which is kept nowhere."""
    quotas = _quotas(
        requests_per_minute=requests_per_minute,
        stored_bytes=stored_bytes,
        queued_jobs=queued_jobs,
        running_jobs=running_jobs,
    )
    with _key_ring(url, api_key, local=local) as keys:
        if scopes is None:
            first = all(key.revoked is not None for key in keys.iterate())
            scopes = ["read", "write", "admin"] if first else ["read", "write"]
        key = keys.create(name, owner=owner, scopes=scopes, quotas=quotas)
    if as_json:
        print_json(key)
        return
    out.print(key.secret, markup=False, soft_wrap=True)
    note(f"{key.id}: {', '.join(key.scopes)}, for {key.owner}. Keep the token; it is not stored.")
    note("Use it: export MDF_API_KEY=…")


@app.command("set")
def change(
    key_id: Annotated[
        str, typer.Argument(metavar="KEY", parser=id_of, help="Id of a key, or its token.")
    ],
    *,
    name: Annotated[str | None, typer.Option("--name", help="What the key is for.")] = None,
    requests_per_minute: RequestsPerMinute = None,
    stored_bytes: StoredBytes = None,
    queued_jobs: QueuedJobs = None,
    running_jobs: RunningJobs = None,
    local: Local = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Rename a key, or give it other quotas; what is left out stays."""
    quotas = _quotas(
        requests_per_minute=requests_per_minute,
        stored_bytes=stored_bytes,
        queued_jobs=queued_jobs,
        running_jobs=running_jobs,
    )
    with _key_ring(url, api_key, local=local) as keys:
        key = keys.change(key_id, name=name, quotas=quotas)
    if as_json:
        print_json(key)
    else:
        print_fields({"key": key.id, "name": key.name, "owner": key.owner, **_shown(key)})


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
        ("KEY", "SCOPES", "OWNER", "NAME", "QUOTAS", "AGE", "USED", ""),
        [
            (
                key.id,
                ", ".join(key.scopes),
                key.owner,
                key.name,
                ", ".join(f"{quota} {value}" for quota, value in _shown(key).items()),
                age(key.created),
                age(key.last_used) if key.last_used else "never",
                Text("revoked", style="red") if key.revoked else "",
            )
            for key in found
        ],
    )


@app.command()
def revoke(
    key_ids: Annotated[
        list[str],
        typer.Argument(metavar="KEY...", parser=id_of, help="Ids of keys, or their tokens."),
    ],
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


def _quotas(**given: str | None) -> dict[str, int | None]:
    """The quotas that options give; None for those that are to be the settings'."""
    return {
        quota: None if value == _DEFAULT else _count(f"--{quota.replace('_', '-')}", value)
        for quota, value in given.items()
        if value is not None
    }


def _count(option: str, text: str) -> int:
    """A number of things or bytes: `500`, `20GB`, `1.5 MB`, in thousands."""
    given = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kMGT])?B?)", text.strip())
    if given is None:
        raise typer.BadParameter(
            f"{option} is {text!r}; it must be a number such as 500 or 20GB, or {_DEFAULT}"
        )
    return round(float(given[1]) * 1000.0 ** " kMGT".index(given[2] or " "))


def _shown(key: Key) -> dict[str, str]:
    """The quotas that the key has of its own."""
    own = asdict(key.quotas) if key.quotas else {}
    return {
        quota.replace("_", " "): size(value) if quota == "stored_bytes" else str(value)
        for quota, value in own.items()
        if value is not None
    }


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
