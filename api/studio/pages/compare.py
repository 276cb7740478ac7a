"""Compare."""

from api.studio.frame import heading, page
from api.studio.visitor import Visitor


@page("/compare", title="Compare")
async def show(visitor: Visitor) -> None:
    """The page."""
    heading("Compare")
