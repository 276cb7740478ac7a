"""Lists of the service, which come in pages."""

from collections.abc import Iterator
from typing import Any

from mdf.client.records import Page, Record, parse
from mdf.client.transport import Transport
from mdf.errors import ProtocolError


def page(transport: Transport, record: type[Record], path: str, **params: Any) -> Page[Record]:
    """One page of the list at `path`."""
    content = transport.get(path, **params)
    return Page(
        data=records(record, content),
        next_cursor=content.get("next_cursor"),
    )


def records(record: type[Record], content: Any) -> tuple[Record, ...]:
    """The records in a list's `data`."""
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise ProtocolError(
            f"the server sent {content!r:.80} where a list of {record.__name__} was expected; "
            "is this the address of an MDF server?"
        )
    return tuple(parse(record, item) for item in content["data"])


def iterate(
    transport: Transport, record: type[Record], path: str, **params: Any
) -> Iterator[Record]:
    """All records of the list at `path`, a page at a time."""
    cursor: str | None = None
    while True:
        found = page(transport, record, path, cursor=cursor, **params)
        yield from found
        cursor = found.next_cursor
        if cursor is None:
            return
