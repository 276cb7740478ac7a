"""Lists: `?limit&cursor`, `{data, next_cursor}`, and the link to the next page."""

from typing import Annotated, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

from services.ids import PATTERN
from services.listing import POSITION

Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=200, description="items on a page at most")]
Cursor = Annotated[
    str | None, Query(pattern=PATTERN, description="`next_cursor` of the page before")
]
PositionCursor = Annotated[
    str | None, Query(pattern=POSITION, description="`next_cursor` of the page before")
]


class PageOut(BaseModel, Generic[Item]):
    """One page of a list, newest first."""

    data: list[Item]
    next_cursor: Annotated[str | None, Field(description="null on the last page")] = None


class ListOut(BaseModel, Generic[Item]):
    """A whole list."""

    data: list[Item]


def link_next(request: Request, response: Response, **changed: str | None) -> None:
    """Point to the next page: this request with the parameters of `changed`, if they are set."""
    if None in changed.values():
        return
    query = urlencode(dict(request.query_params) | changed)
    response.headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
