"""Waiting for what has to happen, with patience: a busy machine is no fault of what is tested."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE_SECONDS = 90.0


def wait_until(
    look: Callable[[], Found | None], *, told: object = None, seconds: float = PATIENCE_SECONDS
) -> Found:
    """What `look` finds, once it finds something.

    Raises: AssertionError with `told`, or what that gives when it is called, after so long.
    """
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, told() if callable(told) else told
        time.sleep(0.01)
    return found
