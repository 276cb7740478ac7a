"""Admin: who may call, what works, what is used and stored, and who is told of it."""

from collections.abc import Awaitable, Callable, Mapping

from nicegui import ui

from api.studio.frame import heading, link, page, style
from api.studio.pages.admin import keys, storage, usage, webhooks, workers
from api.studio.visitor import Visitor
from services.errors import NotFoundError

# A part of the page; it is given the id of what to show of it closely, and where its list begins.
View = Callable[[Visitor, str | None, str | None], Awaitable[None]]

VIEWS: Mapping[str, tuple[str, View]] = {
    "keys": ("Keys", keys.show),
    "workers": ("Workers", workers.show),
    "usage": ("Quotas and use", usage.show),
    "storage": ("Storage", storage.show),
    "webhooks": ("Webhooks", webhooks.show),
}


@page("/admin", title="Admin", needs="admin")
async def show(
    visitor: Visitor, view: str = "keys", of: str | None = None, cursor: str | None = None
) -> None:
    """One of the views, and links to all of them."""
    style("admin")
    if view not in VIEWS:
        raise NotFoundError(f"The admin page has no view {view[:80]!r}.")
    heading("Admin")
    with ui.element("nav").classes("views").props('aria-label="Administration"'):
        for name, (words, _) in VIEWS.items():
            place = link(words, f"/admin?view={name}")
            if name == view:
                place.props('aria-current="page"')
    _, show_view = VIEWS[view]
    await show_view(visitor, of, cursor)
