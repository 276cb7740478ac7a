"""Train."""

from api.studio.frame import heading, page
from api.studio.visitor import Visitor


@page("/train", title="Train")
async def show(visitor: Visitor) -> None:
    """The page."""
    heading("Train")
