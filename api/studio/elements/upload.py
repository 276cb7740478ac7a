"""Uploads from a page: by dragging, choosing or pasting, with progress and the API's own words."""

from collections.abc import Callable
from typing import Any

from nicegui.element import Element

from api.studio.frame import style

IMAGES = "image/png,image/jpeg,image/webp,image/tiff"


class DropZone(Element, component="upload.js"):
    """Sends files to the API, each as the form field `file` of a POST of the browser's own.

    Args:
        to: the address that takes them.
        accept: media types or endings of files that can be chosen; the API decides about all.
        multiple: whether several can be sent, one after the other.
        label: what to do here.
        hint: what is taken.
        on_done: is given the API's answer to each file.
        on_problem: is given the words on each file that was refused; they stand here anyhow.
    """

    def __init__(
        self,
        *,
        to: str = "/v1/images",
        accept: str = IMAGES,
        multiple: bool = False,
        label: str = "Drop a photograph here, or choose one",
        hint: str = "PNG, JPEG, WebP or TIFF; a copied picture can be pasted with Ctrl+V",
        on_done: Callable[[dict[str, Any]], Any],
        on_problem: Callable[[str], Any] | None = None,
    ) -> None:
        super().__init__()
        style("upload")
        self.props.update(to=to, accept=accept, multiple=multiple, label=label, hint=hint)
        self.on("done", lambda event: on_done(event.args))
        if on_problem is not None:
            self.on("problem", lambda event: on_problem(event.args))
