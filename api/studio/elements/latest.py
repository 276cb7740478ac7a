"""Pictures that are asked for faster than they are made: the latest wins, and no others wait."""

from collections.abc import Callable
from typing import Any

from nicegui.element import Element


class Latest(Element, component="latest.js"):
    """Loads a picture of this service ahead of those who show it; tells of delays and refusals.

    Args:
        src: the picture's address; others by `want`.
        patience: what to say while the first one is not there.
        on_ready: is given the address of a picture that the browser holds now.
    """

    def __init__(self, src: str, *, patience: str, on_ready: Callable[[str], Any]) -> None:
        super().__init__()
        self.props.update(src=src, patience=patience)
        self.on("ready", lambda event: on_ready(event.args))

    def want(self, src: str) -> None:
        """Load another one as soon as the one that is loading is there."""
        self.props["src"] = src
