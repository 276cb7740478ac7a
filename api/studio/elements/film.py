"""Pictures made in the course of a run, with a slider through it."""

from collections.abc import Sequence
from typing import TypedDict

from nicegui.element import Element

from api.studio.frame import style


class Frame(TypedDict):
    """A picture as it was after a step; None for one that does not change."""

    step: int | None
    src: str


class Picture(TypedDict):
    """One that is made again and again; `frames` in the order of their steps.

    `ratio` is its width over its height, and `waiting` stands where there is none yet.
    """

    name: str
    alt: str
    ratio: float
    waiting: str
    frames: Sequence[Frame]


class Film(Element, component="film.js"):
    """Shows the latest of each picture, and by the slider all as they were at an earlier step."""

    def __init__(self, pictures: Sequence[Picture], *, title: str) -> None:
        super().__init__()
        style("film")
        self.props["title"] = title
        self.show(pictures)

    def show(self, pictures: Sequence[Picture]) -> None:
        """There are more."""
        self.props["pictures"] = list(pictures)
