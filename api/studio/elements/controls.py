"""Small controls that browsers bring: sliders, and choices of one among a few."""

from collections.abc import Awaitable, Callable, Mapping

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from api.studio.frame import text

# Seconds between two tellings while a slider moves.
THROTTLE = 0.15
_TELL_NUMBER = "(event) => emit(Number(event.target.value))"


def slider(
    label: str,
    *,
    value: float,
    low: float,
    high: float,
    step: float,
    words: Callable[[float], str],
    act: Callable[[float], Awaitable[None] | None],
) -> ui.element:
    """A slider with its label and, in `words`, its value; `act` is given each new value."""

    def move(to: float) -> Awaitable[None] | None:
        said.set_text(words(to))
        return act(to)

    with ui.element("div").classes("value-slider") as whole:
        name = text("label", label)
        moved = ui.element("input")
        said = text("output", words(value), classes="number")
        name.props["for"] = moved.props["id"] = f"slider-{moved.id}"
        moved.props.update({"type": "range", "min": low, "max": high, "step": step, "value": value})
        moved.on(
            "input", lambda event: move(event.args), throttle=THROTTLE, js_handler=_TELL_NUMBER
        )
    return whole


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
