"""Points in time, as people count: how long ago, and exactly when one looks closer."""

from datetime import datetime

from nicegui.elements.mixins.text_element import TextElement

from api.studio.frame import text


def moment(time: datetime | None, *, never: str = "—") -> TextElement:
    """`5 minutes ago`, kept right by the browser, with date and time in its own zone on hover."""
    if time is None:
        return text("span", never, classes="quiet")
    element = text("time", f"{time:%Y-%m-%d %H:%M} UTC")
    element.props["datetime"] = time.isoformat()
    return element
