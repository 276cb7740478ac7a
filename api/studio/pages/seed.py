"""Seed."""

from api.studio.frame import heading, page
from api.studio.visitor import Visitor


@page("/seed", title="Seed")
async def show(visitor: Visitor) -> None:
    """The page."""
    heading("Seed")
