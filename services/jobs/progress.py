"""How far a job is, and when it will be done, by its own speed."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

_WINDOW = 60  # observations, half a second apart


class Progress:
    """Where a computation is, as a share of all its work.

    Scales differ in cost by orders of magnitude: `plan` says what an iteration of each costs.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._costs: Sequence[float] = ()
        self._observed: deque[tuple[float, float]] = deque(maxlen=_WINDOW)

    def plan(self, costs: Sequence[float]) -> None:
        """Relative cost of an iteration in each scale, coarsest first; equal if never told."""
        self._costs = costs

    def at(self, *, scale: int, scales: int, step: int, steps: int) -> dict[str, Any]:
        """The progress at iteration `step` of `steps` in `scale` of `scales`, from 1."""
        costs = self._costs if len(self._costs) == scales else (1.0,) * scales
        done = sum(costs[: scale - 1]) + costs[scale - 1] * step / steps
        fraction = done / sum(costs)
        self._observed.append((self._clock(), fraction))
        return {
            "scale": scale,
            "scales": scales,
            "step": step,
            "steps": steps,
            "fraction": round(fraction, 6),
            "eta_seconds": self._eta(),
        }

    def _eta(self) -> float | None:
        (began, first), (latest, fraction) = self._observed[0], self._observed[-1]
        if fraction <= first or latest - began < 1:
            return None
        return round((1 - fraction) * (latest - began) / (fraction - first), 1)
