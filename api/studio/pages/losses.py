"""Losses."""

from api.studio.frame import heading, page
from api.studio.visitor import Visitor


@page("/losses", title="Losses")
async def show(visitor: Visitor) -> None:
    """The page."""
    heading("Losses")
