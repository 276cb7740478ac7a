"""Lists, newest first, a page at a time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from services.errors import BadInputError
from services.ids import PATTERN

Row = TypeVar("Row")

POSITION = r"^[0-9]{1,9}$"


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows, and the cursor that fetches those after them, if there are more.

    A cursor is the id of the last row, or the position of the next one.
    """

    items: list[Row]
    next_cursor: str | None


def newest_first(
    session: Session,
    query: Select[Row],
    row_id: InstrumentedAttribute[str],
    *,
    limit: int,
    cursor: str | None,
) -> Page[Row]:
    """Up to `limit` rows of `query` in falling order of their id, from `cursor` on.

    Ids sort by time of creation, so rows that are added or deleted between two pages
    neither repeat nor hide another row.
    """
    if cursor is not None:
        if re.fullmatch(PATTERN, cursor) is None:
            raise _foreign(cursor, "newest")
        query = query.where(row_id < cursor)
    rows = list(session.scalars(query.order_by(row_id.desc()).limit(limit + 1)))
    more = len(rows) > limit
    rows = rows[:limit]
    last: Any = rows[-1] if more else None
    return Page(rows, getattr(last, row_id.key) if more else None)


def in_order(
    session: Session,
    query: Select[Row],
    position: InstrumentedAttribute[int],
    *,
    limit: int,
    cursor: str | None,
) -> Page[Row]:
    """Up to `limit` rows of `query` in rising order of their position, from `cursor` on.

    For lists that never change once they are there.
    """
    if cursor is not None:
        if re.fullmatch(POSITION, cursor) is None:
            raise _foreign(cursor, "first")
        query = query.where(position >= int(cursor))
    rows = list(session.scalars(query.order_by(position).limit(limit + 1)))
    following: Any = rows[limit] if len(rows) > limit else None
    return Page(rows[:limit], None if following is None else str(getattr(following, position.key)))


def portion(items: Sequence[Row], *, limit: int, cursor: str | None) -> Page[Row]:
    """Up to `limit` of a list that is there as a whole, from `cursor` on; it never changes."""
    if cursor is not None and re.fullmatch(POSITION, cursor) is None:
        raise _foreign(cursor, "first")
    start = int(cursor or 0)
    end = start + limit
    return Page(list(items[start:end]), str(end) if end < len(items) else None)


def _foreign(cursor: str, begin: str) -> BadInputError:
    return BadInputError(
        f"cursor {cursor[:80]!r} is not one that this service gave: take `next_cursor` of the "
        f"page before, or leave it out to begin with the {begin}"
    )
