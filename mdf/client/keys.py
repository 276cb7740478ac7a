"""`client.keys`: who may call the service."""

import re
from collections.abc import Iterator, Mapping, Sequence

from mdf.client.pages import iterate, page
from mdf.client.records import ApiKey, Page, parse
from mdf.client.transport import Transport
from mdf.errors import MDFError

_KEY = re.compile(r"(?:key|mdf)_([0-9a-f]+)(?:_[\w-]*)?")


def id_of(key: str) -> str:
    """The id of the key that is meant, by its id or its token, whose secret goes no further.

    Raises: MDFError for what is neither; it may be a secret, and is not repeated.
    """
    found = _KEY.fullmatch(key.strip())
    if found is None:
        raise MDFError("that is no key: name it by its id, `key_…`, or its token, `mdf_…`")
    return f"key_{found[1]}"


class Keys:
    """Create, list, change and revoke API keys; needs the scope `admin`.

    A key is named by its id or, where that is what is at hand, its token: of it only the id is
    sent.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        name: str,
        *,
        owner: str | None = None,
        scopes: Sequence[str] = ("read", "write"),
        quotas: Mapping[str, int | None] | None = None,
    ) -> ApiKey:
        """Make a key; `ApiKey.secret` is its token, told this once only.

        Its `quotas` are those of `Quotas`, by name; where it has none, the service's settings
        hold. Sent once: a repeat would be answered without the token.
        """
        content: dict[str, object] = {"name": name, "scopes": [*scopes]}
        if owner is not None:
            content["owner"] = owner
        if quotas:
            content["quotas"] = dict(quotas)
        return parse(ApiKey, self._transport.act("/v1/api-keys", json=content))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Page[ApiKey]:
        """One page of keys, newest first."""
        return page(self._transport, ApiKey, "/v1/api-keys", limit=limit, cursor=cursor)

    def iterate(self) -> Iterator[ApiKey]:
        """All keys, newest first, fetched a page at a time."""
        return iterate(self._transport, ApiKey, "/v1/api-keys")

    def change(
        self,
        key_id: str,
        *,
        name: str | None = None,
        quotas: Mapping[str, int | None] | None = None,
    ) -> ApiKey:
        """Rename a key, or set quotas of it by name; None gives one back to the settings."""
        content: dict[str, object] = {}
        if name is not None:
            content["name"] = name
        if quotas:
            content["quotas"] = dict(quotas)
        changed = self._transport.act(f"/v1/api-keys/{id_of(key_id)}", method="PATCH", json=content)
        return parse(ApiKey, changed)

    def revoke(self, key_id: str) -> None:
        """Refuse the key from now on."""
        self._transport.act(f"/v1/api-keys/{id_of(key_id)}", method="DELETE")
