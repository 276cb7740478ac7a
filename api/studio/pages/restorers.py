"""Restorers."""

from api.studio.frame import heading, page
from api.studio.visitor import Visitor


@page("/restorers", title="Restorers")
async def show(visitor: Visitor) -> None:
    """The page."""
    heading("Restorers")
