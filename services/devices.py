"""The GPUs of this host, told without torch: the processes that ask must stay small."""

import os
import shutil
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """What a worker slot computes on; `visible` is its CUDA_VISIBLE_DEVICES."""

    visible: str
    label: str


def device_of(slot: int) -> Device:
    """The device of a slot: the GPUs go round, and without any it is the CPU."""
    gpus = _gpus()
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        names = [name.strip() for name in allowed.split(",") if name.strip()]
    else:
        names = list(gpus)
    if not names or not gpus:
        return Device(visible="", label="cpu")
    name = names[slot % len(names)]
    return Device(visible=name, label=f"cuda:{name} {gpus.get(name, '')}".strip())


def _gpus() -> dict[str, str]:
    """Names of the GPUs by index, as the driver lists them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    query = [program, "--query-gpu=index,name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)  # noqa: S603 - a fixed command
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = [line.split(", ", 1) for line in answer.stdout.splitlines()]
    return {line[0]: line[1] for line in lines if len(line) == 2}
