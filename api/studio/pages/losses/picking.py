"""Choosing an image of the library, or bringing a new one."""

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui
from sqlalchemy.orm import Session

from api.studio.elements.thumbnails import thumbnail
from api.studio.elements.upload import DropZone
from api.studio.frame import text
from api.studio.visitor import Visitor
from services.access import Caller
from services.database.schema import Image
from services.images import catalogue

_LISTED = 24
_SIDE = 88  # px


# The browser knows whether the others are shown.
_CLOSE = """(event) => {
  event.currentTarget.closest("details").open = false;
  emit();
}"""


class ImagePicker:
    """Shows the image that is chosen, and the others to choose from.

    Args:
        visitor: whose images they are.
        label: what the image is for.
        chosen: to begin with.
        act: is given the id of each new one.
    """

    def __init__(
        self,
        visitor: Visitor,
        label: str,
        *,
        chosen: Image | None,
        library: list[Image],
        act: Callable[[str], Awaitable[None]],
    ) -> None:
        self._visitor = visitor
        self._act = act
        with ui.element("div").classes("picker"):
            text("h3", label)
            self._shown = ui.element("div").classes("picked")
            with ui.element("details") as others:
                others.props["open"] = chosen is None
                text("summary", "Choose another" if chosen else "Choose an image")
                with ui.element("div").classes("playground-library"):
                    for image in library:
                        self._offer(image)
                if visitor.may_write:
                    DropZone(label="Drop an image here, or choose a file", on_done=self._uploaded)
        self._show(chosen)

    async def _uploaded(self, made: dict[str, Any]) -> None:
        def ask(session: Session, caller: Caller) -> Image:
            return catalogue.get(session, str(made["id"]), caller)

        await self._choose(await self._visitor.read(ask))

    def _offer(self, image: Image) -> None:
        with ui.element("button").props("type=button") as button:
            thumbnail(image, side=_SIDE)
        button.props["aria-label"] = button.props["title"] = _words(image)
        button.on("click", lambda _: self._choose(image), js_handler=_CLOSE)

    async def _choose(self, image: Image) -> None:
        self._show(image)
        await self._act(image.id)

    def _show(self, image: Image | None) -> None:
        self._shown.clear()
        if image is not None:
            with self._shown:
                thumbnail(image, side=_SIDE, words="")
                text("span", _words(image))


def newest(session: Session, caller: Caller) -> list[Image]:
    """The images to choose from, newest first."""
    return catalogue.list_images(session, caller, limit=_LISTED).items


def _words(image: Image) -> str:
    return f"{image.name or image.id}, {image.width}×{image.height} px"
