"""Restores images from a page, by requests of the browser's own, and measures the results."""

from collections.abc import Callable, Sequence
from typing import Any, NotRequired, TypedDict

from nicegui.element import Element


class Wanted(TypedDict):
    """One thing to do: `image` through `model`, or as it is, and measured against `reference`.

    `job` does it already, if it was begun on the page before.
    """

    key: str
    image: str
    model: str | None
    reference: str | None
    job: str | None


class Progress(TypedDict):
    """How far it is: in words, as a share if that is known, and by which job."""

    key: str
    words: str
    share: float | None
    job: NotRequired[str]


class Result(TypedDict):
    """What came of it: where the image is in this browser, and its metrics, or why none."""

    key: str
    src: str
    seconds: float | None
    metrics: NotRequired[list[dict[str, Any]]]
    unmeasured: NotRequired[str]


class Restoring(Element, component="restoring.js"):
    """Does what is wanted, one after the other; each once, by its key."""

    def __init__(
        self,
        *,
        on_progress: Callable[[Progress], Any],
        on_result: Callable[[Result], Any],
        on_problem: Callable[[str, str], Any],
    ) -> None:
        super().__init__()
        self.props["wanted"] = []
        self.on("progress", lambda event: on_progress(event.args))
        self.on("result", lambda event: on_result(event.args))
        self.on("problem", lambda event: on_problem(event.args["key"], event.args["detail"]))

    def want(self, wanted: Sequence[Wanted]) -> None:
        """What is wanted now, the most urgent first."""
        self.props["wanted"] = list(wanted)

    def again(self, key: str) -> None:
        """Try once more what failed."""
        self.run_method("again", key)
