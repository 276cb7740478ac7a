"""Data sets."""

from api.studio.frame import heading, page
from api.studio.visitor import Visitor


@page("/datasets", title="Data sets")
async def show(visitor: Visitor) -> None:
    """The page."""
    heading("Data sets")
