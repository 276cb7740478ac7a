"""Images as the service keeps them, small: shrunk by the server, so that lists stay light."""

from urllib.parse import urlencode

from nicegui import ui

from services.database.schema import Image
from services.previews import MAX_SIDE


def thumbnail(image: Image, *, side: int, words: str = "", classes: str = "") -> ui.element:
    """The image, `side` px at most on the page; `words` are for those who cannot see it."""
    width, height = fitted(image, side)
    shown = ui.element("img").classes(classes)
    # Screens with fine pixels show two in the place of one.
    shown.props["src"] = preview_address(image, *fitted(image, min(2 * side, MAX_SIDE)))
    shown.props["alt"] = words
    shown.props["loading"] = "lazy"
    shown.props["width"], shown.props["height"] = width, height
    return shown


def fitted(image: Image, side: int) -> tuple[int, int]:
    """Width and height, px, of the image shrunk to a longer side of at most `side`."""
    share = min(1.0, side / max(image.width, image.height))
    return max(1, round(image.width * share)), max(1, round(image.height * share))


def preview_address(image: Image, width: int, height: int) -> str:
    """Where the image is had in that size."""
    return f"/v1/images/{image.id}/preview?" + urlencode({"to_width": width, "to_height": height})
