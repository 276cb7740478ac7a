"""One loss, in three views: overview, use, playground."""

from urllib.parse import urlencode

from nicegui import ui
from sqlalchemy.orm import Session

from api.studio.frame import heading, link, page, style
from api.studio.pages.losses import overview, playground, usage
from api.studio.pages.losses.playground import Given
from api.studio.visitor import Visitor
from services.access import Caller
from services.cards import task_in_words
from services.database.schema import Loss
from services.errors import BadInputError
from services.losses import catalogue

_VIEWS = {"overview": "Overview", "use": "Use", "playground": "Playground"}


@page("/losses/{loss_id}", title="Loss")
async def show(
    visitor: Visitor,
    *,
    loss_id: str,
    view: str = "overview",
    reference: str = "",
    image: str = "",
    task: str = "",
    position: str = "",
    side: str = "",
) -> None:
    """The page."""
    style("losses")
    if view not in _VIEWS:
        raise BadInputError(f"There is no view {view[:50]!r}: {', '.join(_VIEWS)}.")

    def ask(session: Session, caller: Caller) -> Loss:
        return catalogue.get(session, loss_id, caller)

    loss = await visitor.read(ask)
    with ui.element("div").classes("row head-row"):
        heading(
            loss.name or "A loss",
            lead=f"An MDF loss for {task_in_words(loss.manifest['task'])}.",
        )
        with ui.element("nav").classes("views").props('aria-label="Views of this loss"'):
            for key, name in _VIEWS.items():
                place = link(name, f"/losses/{loss.id}?{urlencode({'view': key})}")
                if key == view:
                    place.props('aria-current="page"')
    match view:
        case "use":
            usage.show(loss)
        case "playground":
            given = Given.of(
                loss, reference=reference, image=image, task=task, position=position, side=side
            )
            await playground.show(visitor, loss, given)
        case _:
            await overview.show(visitor, loss)
