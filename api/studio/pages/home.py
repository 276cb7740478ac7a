"""Home."""

from api.studio.frame import heading, page
from api.studio.visitor import Visitor


@page("/", title="Home")
async def show(visitor: Visitor) -> None:
    """The page."""
    heading("Home")
