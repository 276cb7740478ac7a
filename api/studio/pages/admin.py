"""Admin."""

from api.studio.frame import heading, page
from api.studio.visitor import Visitor


@page("/admin", title="Admin", needs="admin")
async def show(visitor: Visitor) -> None:
    """The page."""
    heading("Admin")
