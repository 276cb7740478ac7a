"""What a mistyped address shows."""

from api.studio.frame import page
from api.studio.visitor import Visitor
from services.errors import NotFoundError


@page("/{path:path}", title="Not there")
async def show(visitor: Visitor, path: str) -> None:  # noqa: ARG001 - as every page
    """The page."""
    raise NotFoundError(f"There is no page /{path[:200]} here.")
