"""A worker slot whose jobs fill a small disk while they write a checkpoint.

`python filling_worker.py --slot 0` is the slot. Which jobs shall do so stands in the folder
FILL_ORDERS: a file with the job's id as its name holds the folder of the disk, and is gone once
the disk is full. The jobs count, as those of `tests/workers/counting_job.py`.
"""

import os
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "workers"))

from counting_job import count
from small_disk import SmallDisk

from services import blobs as stores
from workers import __main__ as slot
from workers import job as process


class _FillsDisk:
    """The content of a file; the disk is full once the first half has been read."""

    def __init__(self, content: bytes, order: Path) -> None:
        middle = len(content) // 2
        self._halves = [content[:middle], content[middle:]]
        self._order = order

    def read(self, size: int = -1) -> bytes:
        if len(self._halves) == 1:
            SmallDisk(Path(self._order.read_text())).fill()
            self._order.unlink()
        return self._halves.pop(0) if self._halves else b""


def _fill_in_checkpoints(order: Path) -> None:
    replace_file = stores.replace_file

    def filling(path: Path, content: Any, *, draft: str) -> None:
        if "checkpoints" in path.parts and order.exists():
            content = _FillsDisk(content, order)
        replace_file(path, content, draft=draft)

    stores.replace_file = filling


def main(arguments: list[str]) -> None:
    """Be a slot, or the process of a job that the slot has started."""
    if arguments[0].startswith("--"):
        slot.main(arguments, job_command=(sys.executable, __file__))
        return
    _fill_in_checkpoints(Path(os.environ["FILL_ORDERS"], arguments[0]))
    process.main(arguments, {"discriminator_training": count})


if __name__ == "__main__":
    main(sys.argv[1:])
