"""Processes that end with the one that started them, however that one ended."""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1

# What libraries of a process that computes read when they are loaded.
LIBRARY_ENVIRONMENT = {
    # Freed memory stays in the process: 2.5 times the speed of training at 512² on a CPU.
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
    # OpenMP's threads wait for each other asleep, not spinning: with one other busy process on
    # two cores training is 5 to 20 times as fast, on an idle machine as fast as before.
    "GOMP_SPINCOUNT": "1000",
    # ONNX Runtime tells its makers over the network what it runs, unless it is told not to.
    "ORT_DISABLE_TELEMETRY": "1",
}


def die_with_parent(parent: int, death: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process `death` when its parent ends; exit if it has already.

    The kernel watches the parent's thread that made this process: it must live as long.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death)
    if os.getppid() != parent:
        os._exit(1)


def tethered(command: Sequence[str], death: signal.Signals = signal.SIGKILL) -> list[str]:
    """The command that runs `command` as a child of this process which ends with it."""
    # `-P`: a folder `services` where it is started is not ours.
    program = [sys.executable, "-P", "-m", "services.processes"]
    return [*program, str(os.getpid()), str(int(death)), *command]


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]), signal.Signals(int(sys.argv[2])))
    os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606 - the command comes from `tethered`
