"""Time for tests that are about it."""


class Clock:
    """Time that passes as a test says, however busy the machine is; for the module `time`."""

    def __init__(self) -> None:
        self.seconds = 1000.0  # not near zero, where an unset moment would be recent

    def monotonic(self) -> float:
        """Seconds from an unnamed moment on."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """So much time passes."""
        self.seconds += seconds
