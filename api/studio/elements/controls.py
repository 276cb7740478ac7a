"""Small controls that browsers bring: sliders, and choices of one among a few."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from api.studio.frame import text

# Seconds between two tellings while a slider moves.
THROTTLE = 0.15


class Slider(Element, component="slider.js"):
    """A slider with its label and its value in words.

    Args:
        label: what it sets.
        value: to begin with.
        low, high, step: its range.
        factor, unit: what the value is multiplied with to be told, and in which unit.
        act: is given each new value.
    """

    def __init__(
        self,
        label: str,
        *,
        value: float,
        low: float,
        high: float,
        step: float,
        unit: str,
        factor: float = 1.0,
        act: Callable[[float], Awaitable[None] | None],
    ) -> None:
        super().__init__()
        self.props.update(label=label, value=value, low=low, high=high, step=step)
        self.props.update(factor=factor, unit=unit)
        self.on(
            "move",
            lambda event: act(within(event.args, low, high)),
            throttle=THROTTLE,
        )


def within(told: Any, low: float, high: float) -> float:
    """What a browser tells of a slider, as far as the slider goes: no other limit may follow."""
    return min(high, max(low, float(told)))


class Choice(ui.element):
    """Buttons of which one is pressed.

    Args:
        label: what is chosen, to those who cannot see it.
        options: keys, and what the buttons say.
        chosen: the key to begin with.
        act: is given each new key.
    """

    def __init__(
        self,
        label: str,
        options: Mapping[str, str],
        chosen: str,
        act: Callable[[str], Awaitable[None] | None],
    ) -> None:
        super().__init__("div")
        self.classes("segments").props("role=group")
        self.props["aria-label"] = label
        self._act = act
        self._buttons: dict[str, TextElement] = {}
        with self:
            for key, words in options.items():
                made = text("button", words).props("type=button")
                made.on("click", lambda _, key=key: self._press(key), args=[])
                self._buttons[key] = made
        self.show(chosen)

    def show(self, chosen: str) -> None:
        """Have the button of `chosen` look pressed; none if no button has that key."""
        for key, made in self._buttons.items():
            made.props["aria-pressed"] = str(key == chosen).lower()

    def _press(self, key: str) -> Awaitable[None] | None:
        self.show(key)
        return self._act(key)
