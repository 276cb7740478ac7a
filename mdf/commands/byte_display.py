"""How far something long has come, in bytes: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from mdf.commands.terminal import err, note, size

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def show_bytes(doing: str) -> Iterator[Callable[[int, int], None]]:
    """Show what is told of `doing`, such as `sending`: bytes that are done, and of how many."""
    if not err.is_terminal:
        yield _lines(doing)
        return
    columns = (
        TextColumn(f"  {doing}"),
        BarColumn(28),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task("", total=None)
        yield lambda done, whole: progress.update(bar, completed=done, total=whole)


def _lines(doing: str) -> Callable[[int, int], None]:
    last = time.monotonic()

    def say(done: int, whole: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            note(f"{doing}: {size(done)} of {size(whole)}")

    return say
