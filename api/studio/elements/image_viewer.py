"""Images to look at closely: before and after, side by side, what differs, pixel by pixel."""

from collections.abc import Sequence
from typing import Literal, TypedDict

from nicegui.element import Element

from api.studio.frame import style

Mode = Literal["slider", "side-by-side", "single", "difference"]


class Source(TypedDict):
    """An image and what it is called; `src` is an address of this service, or a blob."""

    src: str
    label: str


class ImageViewer(Element, component="image_viewer.js"):
    """Shows images in one frame, those of other sizes scaled to the largest.

    Zoom by wheel, pinch, buttons, + and −; move by dragging and the arrow keys. Above 100 %, one
    pixel of an image on one of the screen, pixels are squares.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        mode: Mode = "slider",
        group: str | None = None,
        overlay: str | None = None,
        overlay_opacity: float = 0.5,
        height: int | str = "min(60vh, 520px)",
        title: str = "Images",
    ) -> None:
        """Show `sources`.

        Args:
            sources: the images; with one alone there is nothing to compare.
            mode: how to begin; the page's visitor may choose another.
            group: viewers of the same group on a page zoom and move together.
            overlay: an image to be laid over the others, stretched to their size.
            overlay_opacity: of the overlay, 0 to 1.
            height: of each pane: pixels, or as CSS has it.
            title: what the images are, to those who cannot see them.
        """
        super().__init__()
        style("image_viewer")
        self._props["sources"] = list(sources)
        self._props["mode"] = mode
        self._props["group"] = group
        self._props["overlay"] = overlay
        self._props["overlay_opacity"] = overlay_opacity
        self._props["height"] = f"{height}px" if isinstance(height, int) else height
        self._props["title"] = title

    def set_sources(self, sources: Sequence[Source]) -> None:
        """Show others; those that stay are not loaded again, and the view stays."""
        self._props["sources"] = list(sources)

    def set_overlay(self, src: str | None, opacity: float | None = None) -> None:
        """Lay another image over, or none."""
        self._props["overlay"] = src
        if opacity is not None:
            self._props["overlay_opacity"] = opacity

    def set_mode(self, mode: Mode) -> None:
        """Compare in another way."""
        self._props["mode"] = mode
