"""The API keys in this machine's database, without a server in between."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from mdf.client import ApiKey, Quotas
from mdf.commands.checkout import server_code

if TYPE_CHECKING:
    from services.access import Scope
    from services.database import Database
    from services.database.schema import ApiKey as Row


@contextmanager
def open_local_keys() -> Iterator["LocalKeys"]:
    """The keys of the installation that the environment's settings name."""
    with server_code():
        from services.installation import Installation
        from services.settings import load_settings

        with Installation.at_this_version(load_settings()) as installation:
            yield LocalKeys(installation.database)


class LocalKeys:
    """What `mdf.Client.keys` does, on a database."""

    def __init__(self, database: "Database") -> None:
        self._database = database

    def create(
        self,
        name: str,
        *,
        owner: str | None,
        scopes: Sequence[str],
        quotas: Mapping[str, int | None] | None,
    ) -> ApiKey:
        """Make a key; `ApiKey.secret` is its token, told this once only."""
        from services import keys
        from services.access import LOCAL

        owner = LOCAL.owner if owner is None else owner
        wanted = cast("Sequence[Scope]", scopes)  # checked by `keys.create`
        with self._database.write() as session:
            row, token = keys.create(session, name=name, owner=owner, scopes=wanted, quotas=quotas)
            return _record(row, secret=token)

    def iterate(self) -> Iterator[ApiKey]:
        """All keys, newest first."""
        from services import keys

        cursor: str | None = None
        with self._database.read() as session:
            while True:
                page = keys.list_keys(session, cursor=cursor)
                yield from map(_record, page.items)
                cursor = page.next_cursor
                if cursor is None:
                    return

    def change(
        self, key_id: str, *, name: str | None, quotas: Mapping[str, int | None] | None
    ) -> ApiKey:
        """Rename a key, or set quotas of it by name; None gives one back to the settings."""
        from services import keys

        with self._database.write() as session:
            return _record(keys.change(session, key_id, name=name, quotas=quotas))

    def revoke(self, key_id: str) -> None:
        """Refuse the key from now on."""
        from services import keys

        with self._database.write() as session:
            keys.revoke(session, key_id)


def _record(row: "Row", secret: str | None = None) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        owner=row.owner,
        scopes=tuple(row.scopes),
        created=row.created,
        last_used=row.last_used,
        revoked=row.revoked,
        secret=secret,
        quotas=Quotas(**row.quotas),
    )
