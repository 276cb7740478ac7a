"""Signals that end a command, after it has cleared away what was half done."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupting_signals() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP interrupt the command as Ctrl-C does; for the main thread.

    Further ones are ignored then, so that it comes to the end of its clearing away: a terminal
    that closes sends several.
    """
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as `nohup` has it
        signals.append(signal.SIGHUP)

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
