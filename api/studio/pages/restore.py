"""Restore."""

from api.studio.frame import heading, page
from api.studio.visitor import Visitor


@page("/restore", title="Restore")
async def show(visitor: Visitor) -> None:
    """The page."""
    heading("Restore")
