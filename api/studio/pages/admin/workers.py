"""Worker slots: what they run on, what is left there, and what they do."""

from collections.abc import Sequence
from typing import Any

from nicegui import ui
from sqlalchemy.orm import Session

from api.studio.elements.jobs import TYPES, StateBadge
from api.studio.elements.times import moment
from api.studio.frame import empty, link, panel, text
from api.studio.visitor import Visitor
from api.studio.wording import count, size
from services import census
from services.access import Caller
from services.database.schema import Job, Worker
from services.jobs.lifecycle import State

_ASK_EVERY = 2.0  # seconds

Slots = Sequence[tuple[Worker, Job | None]]


async def show(visitor: Visitor, _: str | None, __: str | None) -> None:
    """The slots that are alive, kept as they are now."""
    told = text("p", "", classes="quiet").props("role=status")
    shown = ui.element("div").classes("admin-parts")
    cards: dict[str, _Slot] = {}

    async def refresh() -> None:
        slots = await visitor.read(_slots)
        if [worker.id for worker, _ in slots] != list(cards):
            shown.clear()
            cards.clear()
            with shown:
                cards.update({worker.id: _Slot(worker) for worker, _ in slots})
                if not slots:
                    empty(
                        "No worker has given a sign of life within the last minute: jobs wait. "
                        "mdf serve starts workers of its own; docs/operations says how others "
                        "are started."
                    )
        for worker, job in slots:
            cards[worker.id].show(worker, job)
        busy = sum(job is not None for _, job in slots)
        words = f"{count(len(slots), 'worker slot')}, {busy} at work." if slots else ""
        if told.text != words:
            told.set_text(words)

    await refresh()
    ui.timer(_ASK_EVERY, refresh, immediate=False)


def _slots(session: Session, caller: Caller) -> Slots:
    return [
        (worker, None if job_id is None else session.get(Job, job_id))
        for worker, job_id in census.workers(session, caller)
    ]


class _Slot:
    """One slot; `show` says how it stands."""

    def __init__(self, worker: Worker) -> None:
        with panel(f"{worker.host}, slot {worker.id.split(':')[1]}", classes="slot"):
            with ui.element("div").classes("row"):
                self._state = text("span", "", classes="state")
                self._job = ui.element("span")
            with ui.element("dl").classes("facts"):
                _fact("Runs on", worker.device)
                self._gpus = [_Share(f"Memory of GPU {gpu['index']}") for gpu in _gpus(worker)]
                self._gpu_load = [_Share(f"Load of GPU {gpu['index']}") for gpu in _gpus(worker)]
                self._memory = _Share("Memory of the host")
                self._own = _fact("Of it, slot and job", "")
                self._disk = _Share("Disk of the service")
                _fact("Process", f"{worker.pid}")
                text("dt", "Started")
                with ui.element("dd"):
                    moment(worker.started)
                text("dt", "Last sign of life")
                with ui.element("dd"):
                    self._seen = moment(worker.last_seen)
        self._job_id: str | None = None

    def show(self, worker: Worker, job: Job | None) -> None:
        """How the slot stands now."""
        is_idle = worker.job_id is None
        self._state.set_text("idle" if is_idle else "at work")
        self._state.classes(remove="running" if is_idle else "", add="" if is_idle else "running")
        job_id = None if job is None else job.id
        if job_id != self._job_id:
            self._job_id = job_id
            self._job.clear()
            if job is not None:
                with self._job:
                    _name_job(job)
        for share, gpu in zip(self._gpus, _gpus(worker), strict=False):
            share.show(gpu["memory"]["used"], gpu["memory"]["total"])
        for share, gpu in zip(self._gpu_load, _gpus(worker), strict=False):
            share.show_fraction(gpu.get("utilization"))
        memory = worker.resources.get("memory", {})
        self._memory.show(_used(memory, "available"), memory.get("total"))
        own = worker.resources.get("process", {}).get("resident")
        self._own.set_text("—" if own is None else size(own))
        disk = worker.resources.get("disk", {})
        self._disk.show(_used(disk, "free"), disk.get("total"))
        self._seen.props["datetime"] = worker.last_seen.isoformat()
        self._seen.update()


class _Share:
    """How much of something is used: a bar, and in words."""

    def __init__(self, name: str) -> None:
        text("dt", name)
        with ui.element("dd").classes("share"):
            self._bar = ui.element("progress").props("max=1 value=0")
            self._bar.props["aria-label"] = name
            self._words = text("span", "—", classes="number")

    def show(self, used: int | None, total: int | None) -> None:
        """So many bytes of so many; None where that is not known."""
        if used is None or not total:
            self._words.set_text("—")
            return
        self._say(used / total, f"{size(used)} of {size(total)} used")

    def show_fraction(self, fraction: float | None) -> None:
        """A part of the whole; None where that is not known."""
        if fraction is not None:
            self._say(fraction, f"{fraction:.0%}".replace("%", "\u202f%"))

    def _say(self, fraction: float, words: str) -> None:
        if self._words.text != words:
            self._bar.props["value"] = fraction
            self._words.set_text(words)


def _name_job(job: Job) -> None:
    link(job.name or TYPES[job.type], f"/runs/{job.id}")
    text("span", f" of {job.owner} ", classes="quiet")
    if job.state != State.RUNNING:
        StateBadge(job.state)


def _fact(name: str, value: str) -> Any:
    text("dt", name)
    return text("dd", value)


def _gpus(worker: Worker) -> list[dict[str, Any]]:
    gpus: list[dict[str, Any]] = worker.resources.get("gpus", [])
    return gpus


def _used(resource: dict[str, int], left: str) -> int | None:
    return resource["total"] - resource[left] if resource else None
