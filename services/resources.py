"""What a worker's host has and what is left of it: memory, disk and its GPU's memory."""

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from services.devices import Device

_FIELDS = ("index", "name", "memory.total", "memory.used", "utilization.gpu")
_MEBIBYTE = 1 << 20


def measure(device: Device, folder: Path) -> dict[str, Any]:
    """The figures of now, for the slot of this process; sizes in bytes, shares from 0 to 1.

    `memory` is the host's, `process` what this process and its children hold,
    `disk` the one below `folder`, `gpus` those of the slot; what cannot be had is left out.
    """
    memory = psutil.virtual_memory()
    found: dict[str, Any] = {
        "memory": {"total": memory.total, "available": memory.available},
        "process": {"resident": _resident()},
        "gpus": _gpus(device),
    }
    with suppress(OSError):  # a folder that is not there yet
        disk = shutil.disk_usage(folder)
        found["disk"] = {"total": disk.total, "free": disk.free}
    return found


def _resident() -> int:
    """Memory of this process and all below it: a job, and what that has started."""
    here = psutil.Process()
    total = 0
    for process in (here, *here.children(recursive=True)):
        with suppress(psutil.Error):  # it has just ended
            total += process.memory_info().rss
    return total


def _gpus(device: Device) -> list[dict[str, Any]]:
    """As the driver tells; it may need a second for it, and hangs with a GPU that is broken."""
    program = shutil.which("nvidia-smi")
    if not device.visible or program is None:
        return []
    query = [
        program,
        f"--id={device.visible}",
        f"--query-gpu={','.join(_FIELDS)}",
        "--format=csv,noheader,nounits",
    ]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 - a fixed command
    except (OSError, subprocess.SubprocessError):
        return []
    return [gpu for line in answer.stdout.splitlines() if (gpu := _gpu(line.split(", ")))]


def _gpu(fields: list[str]) -> dict[str, Any] | None:
    """One GPU; None if the driver does not know its memory."""
    try:
        index, name, total, used, utilization = fields
        gpu: dict[str, Any] = {
            "index": index,
            "name": name,
            "memory": {"total": int(total) * _MEBIBYTE, "used": int(used) * _MEBIBYTE},
        }
    except ValueError:
        return None
    if utilization.isdigit():
        gpu["utilization"] = int(utilization) / 100
    return gpu
