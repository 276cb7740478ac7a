"""`client.keys`: who may call the service."""

from collections.abc import Iterator, Sequence

from mdf.client.pages import iterate, page
from mdf.client.records import ApiKey, Page, parse
from mdf.client.transport import Transport


class Keys:
    """Create, list and revoke API keys; needs the scope `admin`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self, name: str, *, owner: str | None = None, scopes: Sequence[str] = ("read", "write")
    ) -> ApiKey:
        """Make a key; `ApiKey.secret` is its token, told this once only.

        Sent once: a repeat would be answered without the token.
        """
        content: dict[str, object] = {"name": name, "scopes": [*scopes]}
        if owner is not None:
            content["owner"] = owner
        return parse(ApiKey, self._transport.act("/v1/api-keys", json=content))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Page[ApiKey]:
        """One page of keys, newest first."""
        return page(self._transport, ApiKey, "/v1/api-keys", limit=limit, cursor=cursor)

    def iterate(self) -> Iterator[ApiKey]:
        """All keys, newest first, fetched a page at a time."""
        return iterate(self._transport, ApiKey, "/v1/api-keys")

    def revoke(self, key_id: str) -> None:
        """Refuse the key from now on."""
        self._transport.act(f"/v1/api-keys/{key_id}", method="DELETE")
