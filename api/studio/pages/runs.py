"""Runs."""

from api.studio.frame import heading, page
from api.studio.visitor import Visitor


@page("/runs", title="Runs")
async def show(visitor: Visitor) -> None:
    """The page."""
    heading("Runs")
