"""What commands print: tables, times and sizes for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mdf.client.records import Deleted, Job, plain

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

# Where lines are not for a screen, nothing is wrapped or cut.
_UNBOUNDED = 10_000

STATE_STYLES = {
    "queued": "cyan",
    "running": "blue",
    "pausing": "yellow",
    "paused": "yellow",
    "canceling": "yellow",
    "succeeded": "green",
    "failed": "red",
    "canceled": "dim",
    "expired": "dim",
}


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Records, or lists of them, as JSON on standard output."""
    sys.stdout.write(json.dumps(plain(value), indent=indent, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    first_column: int = len("job_") + 32,
) -> None:
    """A table without lines; the first column, by default an id's, is never cut."""
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        header_style="bold",
        padding=(0, 1, 0, 0),
    )
    table.add_column(headings[0], no_wrap=True, min_width=first_column)
    for heading in headings[1:]:
        table.add_column(heading, overflow="fold")
    for row in rows:
        # As Text, because names are users' and may hold what looks like markup.
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    print_uncut(table)


def print_fields(fields: Mapping[str, str | Text | None]) -> None:
    """Names and values below each other; a value that is None is left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    width = max(map(len, given))
    for name, value in given.items():
        out.print(Text.assemble((f"{name:<{width}}  ", "dim"), value), soft_wrap=True)


def print_uncut(table: Table) -> None:
    """Fit a table to the terminal; elsewhere give every line the length that it needs."""
    console = out if out.is_terminal else Console(width=_UNBOUNDED, highlight=False)
    console.print(table)


def note(message: str) -> None:
    """A line beside the result."""
    err.print(message, markup=False, soft_wrap=True)


def tell_deleted(deleted: Iterable[Deleted], *, as_json: bool) -> None:
    """A line for each as it goes, and what they all have freed for programs."""
    gone = []
    for one in deleted:
        note(f"removed {one.id}: {size(one.bytes_freed)} freed")
        gone.append(one)
    if as_json:
        freed = sum(one.bytes_freed for one in gone)
        print_json({"removed": [one.id for one in gone], "bytes_freed": freed})


def state(name: str) -> Text:
    """A job's state, in its colour."""
    return Text(name, style=STATE_STYLES.get(name, ""))


def duration(seconds: float) -> str:
    """`0:42`, `12:05`, `3:02:11`."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def age(moment: datetime) -> str:
    """How long ago: `12 s`, `5 min`, `3 h`, `9 d`."""
    seconds = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    for unit, length, limit in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86400)):
        if seconds < limit:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds // 86400:.0f} d"


def moment(time: datetime | None) -> str | None:
    """A point in time, in the local time zone."""
    return None if time is None else f"{time.astimezone():%Y-%m-%d %H:%M:%S}"


def size(count: int) -> str:
    """`812 B`, `41 kB`, `2.4 MB`, `3.1 GB`."""
    if count < 1000:
        return f"{count} B"
    if count < 1_000_000:
        return f"{count / 1000:.0f} kB"
    if count < 1_000_000_000:
        return f"{count / 1_000_000:.1f} MB"
    return f"{count / 1_000_000_000:.1f} GB"


def file_name(text: str) -> str:
    """`text` as part of a file's name: letters, digits and a few signs."""
    kept = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in text)
    return kept.strip("-.")


def describe_task(task: Mapping[str, Any]) -> str:
    """A task in a few words: `jpeg, quality 7–10`."""
    match task:
        case {"kind": "denoising", "sigma": sigma}:
            return f"denoising, σ {_range(sigma)}"
        case {"kind": "jpeg", "quality": quality}:
            return f"jpeg, quality {_range(quality)}"
        case {"kind": "sisr", "factor": factor}:
            return f"sisr ×{factor}"
        case {"kind": "custom", "distortions": [*distortions]}:
            return "custom: " + ", ".join(str(one.get("kind")) for one in distortions)
    return str(task.get("kind", "unknown"))


def describe_loss(loss: Mapping[str, Any]) -> str:
    """What a network is trained with, in a few words: `l2 + 0.1 mdf`."""
    match loss:
        case {"kind": "sum", "terms": [*terms]}:
            parts = (f"{term['weight']:g} {describe_loss(term['loss'])}" for term in terms)
            return " + ".join(part.removeprefix("1 ") for part in parts)
        case {"kind": "schedule", "stages": [*stages]}:
            return ", then ".join(describe_loss(stage["loss"]) for stage in stages)
    return str(loss.get("kind", "unknown"))


def describe_network(network: Mapping[str, Any]) -> str:
    """A network in a few words: `edsr ×4`."""
    kind, scale = str(network.get("kind", "unknown")), network.get("scale", 1)
    return kind if scale == 1 else f"{kind} ×{scale}"


def describe_work(job: Job) -> str:
    """What a job is about: its task, or what it does to what."""
    match job.type, job.spec:
        case "restoration", {"image_ids": [*images]}:
            return f"restoration, {len(images)} image{'s' if len(images) != 1 else ''}"
        case "restoration", _:
            return "restoration, data set"
        case "evaluation", {"model_ids": [*models]}:
            return f"evaluation, {len(models)} model{'s' if len(models) != 1 else ''}"
        case "dataset_import", _:
            return "data set"
        case "restoration_training", {"preset": preset} if not job.spec.get("task"):
            return str(preset)
    return describe_task(job.spec.get("task") or {})


def _range(value: Any) -> str:
    if not isinstance(value, list | tuple):
        return f"{value:g}"
    low, high = value
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"
