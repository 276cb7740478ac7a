"""What a training will take, told before it begins."""

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from api.studio.frame import text
from api.studio.wording import count, duration, size
from services.estimates.forecast import Estimate

# From so many seconds on, a time is told in the unit: seconds in it, and its name.
_UNITS = ((172_800, 86_400, "days"), (5400, 3600, "h"), (90, 60, "min"), (0, 1, "s"))


class Forecast(ui.element):
    """Time, memory, when it can start, and what that rests on; it changes in place."""

    def __init__(self) -> None:
        super().__init__("dl")
        self.classes("facts")
        self.props["aria-live"] = "polite"
        with self:
            self._values = {name: _fact(name) for name in ("Time", "Memory", "Starts", "Basis")}
        self.show(None)

    def show(self, estimate: Estimate | None) -> None:
        """Another estimate; None where there is nothing to estimate."""
        told = {
            "Time": "—" if estimate is None else time_of(estimate),
            "Memory": "—" if estimate is None else _memory_of(estimate),
            "Starts": "—" if estimate is None else _start_of(estimate),
            "Basis": "—" if estimate is None else _upper(estimate.basis),
        }
        for name, words in told.items():
            if self._values[name].text != words:
                self._values[name].set_text(words)


def time_of(estimate: Estimate) -> str:
    """`12 to 31 min`."""
    if estimate.seconds is None:
        return "not known yet"
    low, high = estimate.seconds
    length, unit = next((length, unit) for least, length, unit in _UNITS if high >= least)
    shortest, longest = _rounded(low / length), _rounded(high / length)
    return f"{shortest} {unit}" if shortest == longest else f"{shortest} to {longest} {unit}"


def _fact(name: str) -> TextElement:
    text("dt", name)
    return text("dd", "")


def _memory_of(estimate: Estimate) -> str:
    if estimate.memory_bytes is None:
        return "not known yet"
    whose = "the GPU" if estimate.memory == "gpu" else "the worker's machine"
    most = size(_two_digits(estimate.memory_bytes)).replace(".0 ", " ")
    return f"up to {most} of {whose}"


def _start_of(estimate: Estimate) -> str:
    if estimate.jobs_ahead:
        return f"after {count(estimate.jobs_ahead, 'job')} that wait already"
    if estimate.wait_seconds is None:
        return "when a worker is free"
    if estimate.wait_seconds == 0:
        return "at once"
    return f"in about {duration(estimate.wait_seconds)}"


def _two_digits(value: float) -> int:
    return int(float(f"{value:.2g}"))


def _rounded(value: float) -> str:
    """Two digits; a half where that is all there is to say."""
    if value >= 10:
        return str(_two_digits(value))
    return f"{value:.1f}".removesuffix(".0")


def _upper(words: str) -> str:
    return words[:1].upper() + words[1:]
