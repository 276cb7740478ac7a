"""Home: what runs and waits, what has ended, what is stored, and a start where nothing is yet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.routers.jobs import described
from api.schemas import JobOut
from api.studio.elements.jobs import TYPES, ProgressBar, StateBadge, name_of, step_in_words
from api.studio.elements.thumbnails import fitted, preview_address
from api.studio.elements.times import moment
from api.studio.frame import heading, link, page, panel, style, text
from api.studio.pages import start
from api.studio.visitor import Visitor
from api.studio.wording import count, size
from services import census, usage
from services.access import Caller
from services.database.schema import Image, JobSample, Worker
from services.jobs import queries
from services.jobs.lifecycle import State
from services.usage import Kind

_SECONDS = 2.0
# What is stored is counted over all rows, and changes slowly.
_STORED_SECONDS = 30.0
_ACTIVE = 30
_ENDED = 8
_THUMBNAIL = 64  # px
_KINDS: Mapping[Kind, tuple[str, str]] = {
    "images": ("image", "images"),
    "datasets": ("data set", "data sets"),
    "losses": ("loss", "losses"),
    "models": ("restorer", "restorers"),
    "samples": ("sample picture", "sample pictures"),
    "artifacts": ("result file", "result files"),
    "checkpoints": ("checkpoint", "checkpoints"),
}
_PARTS = {
    "database": "The database does not answer. Nothing can be done until it is back.",
    "blobs": "The file store does not answer. Nothing can be stored until it is back.",
    "broker": "The broker does not answer. Jobs are taken, and start when it is back.",
}


@page("/", title="Home")
async def show(visitor: Visitor, image: str | None = None, task: str | None = None) -> None:
    """The page."""
    style("home")
    now = await _look(visitor)
    is_start = visitor.may_write and not (now.active or now.ended)
    if is_start:
        await start.draw(visitor, image_id=image, written_task=task)
    else:
        with ui.element("div").classes("home-head"):
            heading("Home")
            if visitor.may_write:
                link("Train a loss", "/seed", classes="button")
    troubles = ui.element("div").classes("home-troubles")
    if not is_start:
        with ui.element("div").classes("home-jobs"):
            active = _Listed("Running and waiting", _Active, "Nothing runs and nothing waits.")
            ended = _Listed("Finished lately", _Ended, "Nothing has finished yet.")
        link("All runs", "/runs")
    with ui.element("div").classes("columns"):
        workers = _Listed("Workers", _Slot, "No worker is there: jobs wait until one starts.")
        stored = _Stored()

    def show_all(seen: _Now) -> None:
        if not is_start:
            active.show({job.id: _Pictured(job, seen) for job in seen.active})
            ended.show({job.id: _Pictured(job, seen) for job in seen.ended})
        elif seen.active or seen.ended:  # the first job of all
            ui.navigate.to("/")
        workers.show({slot.worker.id: slot for slot in seen.slots})
        stored.show_free(visitor.runtime.installation.blobs.free_bytes())

    async def refresh() -> None:
        faulty = await _faulty_parts(visitor)
        _tell_troubles(troubles, [_PARTS[part] for part in faulty])
        if "database" not in faulty:
            show_all(await _look(visitor))

    async def count_stored() -> None:
        stored.show(await visitor.read(_count_stored))

    show_all(now)
    await count_stored()
    ui.timer(_SECONDS, refresh)
    ui.timer(_STORED_SECONDS, count_stored, immediate=False)


@dataclass(frozen=True)
class _Held:
    """A worker slot, and what its job is called, if the visitor may know."""

    worker: Worker
    job: JobOut | None


@dataclass(frozen=True)
class _Now:
    """What there is at a moment."""

    active: Sequence[JobOut]
    ended: Sequence[JobOut]
    slots: Sequence[_Held]
    pictures: Mapping[str, str]  # addresses, by job


@dataclass(frozen=True)
class _Pictured:
    """A job, and what the page knows beside it."""

    job: JobOut
    now: _Now

    @property
    def picture(self) -> str | None:
        """Address of a picture of what it works on."""
        return self.now.pictures.get(self.job.id)

    @property
    def device(self) -> str | None:
        """What it runs on."""
        slots = [slot.worker for slot in self.now.slots if slot.worker.job_id == self.job.id]
        return _place(slots[0]) if slots else None


async def _look(visitor: Visitor) -> _Now:
    def ask(session: Session, caller: Caller) -> _Now:
        runtime = visitor.runtime
        active = described(session, queries.list_active(session, caller, limit=_ACTIVE), runtime)
        ended = described(session, queries.list_ended(session, caller, limit=_ENDED), runtime)
        jobs = {job.id: job for job in active}
        slots = [
            _Held(worker, jobs.get(job_id or ""))
            for worker, job_id in census.workers(session, caller)
        ]
        return _Now(active, ended, slots, _pictures(session, caller, [*active, *ended]))

    return await visitor.read(ask)


async def _faulty_parts(visitor: Visitor) -> list[str]:
    checks = await visitor.runtime.readiness.checks()
    return [part for part, state in checks.items() if state != "ok"]


def _pictures(session: Session, caller: Caller, jobs: Sequence[JobOut]) -> dict[str, str]:
    """An image that each job has in its spec, or else the last picture that it made."""
    named = {}
    for job in jobs:
        images = job.spec.get("seed_image_ids") or job.spec.get("image_ids") or []
        named[job.id] = images[0] if images else ""
    found = session.scalars(
        select(Image).where(Image.id.in_({*named.values()}), caller.sees(Image.owner))
    )
    images = {image.id: image for image in found}
    addresses = {
        job_id: preview_address(image, *fitted(image, 2 * _THUMBNAIL))
        for job_id, image_id in named.items()
        if (image := images.get(image_id)) is not None
    }
    for job in jobs:
        if job.id not in addresses and job.type == "restoration_training":
            query = select(JobSample.id).where(JobSample.job_id == job.id)
            sample = session.scalar(query.order_by(JobSample.step.desc(), JobSample.kind).limit(1))
            if sample is not None:
                addresses[job.id] = f"/v1/jobs/{job.id}/samples/{sample}/content"
    return addresses


def _count_stored(session: Session, caller: Caller) -> Mapping[Kind, usage.Use]:
    """Of everybody for an admin, else of the caller."""
    if caller.may("admin"):
        return census.stored(session)
    return usage.of_owner(session, caller.owner).kinds


Shown = TypeVar("Shown")
Shown_contra = TypeVar("Shown_contra", contravariant=True)


class _Row(Protocol[Shown_contra]):
    """One entry of a list; `element` is what the list holds."""

    element: ui.element

    def show(self, shown: Shown_contra) -> None:
        """What it is now."""


class _Listed(Generic[Shown]):
    """A panel with a list whose entries come, change and go in place."""

    def __init__(self, title: str, make: Callable[[], _Row[Shown]], nothing: str) -> None:
        self._make = make
        self._rows: dict[str, _Row[Shown]] = {}
        with panel(title):
            self._nothing = text("p", nothing, classes="quiet")
            self._list = ui.element("ul").classes("home-list")

    def show(self, entries: Mapping[str, Shown]) -> None:
        """What there is now, in this order."""
        for key in self._rows.keys() - entries.keys():
            self._rows.pop(key).element.delete()
        for place, (key, entry) in enumerate(entries.items()):
            if key not in self._rows:
                with self._list:
                    self._rows[key] = self._make()
            row = self._rows[key]
            row.show(entry)
            if self._list.default_slot.children[place] is not row.element:
                row.element.move(target_index=place)
        _reveal(self._nothing, shown=not entries)


class _Active:
    """A job that runs or waits."""

    def __init__(self) -> None:
        self.element = ui.element("li").classes("home-job")
        self._bar: ProgressBar | None = None

    def show(self, shown: _Pictured) -> None:
        """Where it is now."""
        job = shown.job
        if self._bar is None:
            with self.element:
                _draw_picture(shown)
                with ui.element("div").classes("home-words"):
                    with ui.element("div").classes("row"):
                        link(name_of(job), f"/runs/{job.id}", classes="home-name")
                        self._state = StateBadge(job.state)
                    self._told = text("p", "", classes="quiet")
                    self._bar = ProgressBar(job)
        self._state.show(job.state)
        self._bar.show(job)
        told = [TYPES[job.type]]
        if job.state == State.RUNNING and job.progress is not None:
            told.append(step_in_words(job.type, job.progress))
        if shown.device is not None:
            told.append(f"on {shown.device}")
        _retext(self._told, " · ".join(told))


class _Ended:
    """A job that has ended: what it made, or why it made nothing."""

    def __init__(self) -> None:
        self.element = ui.element("li").classes("home-job")
        self._finished: Any = None

    def show(self, shown: _Pictured) -> None:
        """Drawn once: what has ended stays, unless it is begun and ended again."""
        job = shown.job
        if self._finished == job.finished:
            return
        self._finished = job.finished
        self.element.clear()
        with self.element:
            _draw_picture(shown)
            with ui.element("div").classes("home-words"):
                with ui.element("div").classes("row"):
                    link(name_of(job), f"/runs/{job.id}", classes="home-name")
                    StateBadge(job.state)
                with ui.element("p").classes("quiet"):
                    text("span", f"{TYPES[job.type]} · ")
                    moment(job.finished)
                if job.error is not None:
                    text("p", job.error.message, classes="problem home-error")
                words, address = _made(job)
                if address:
                    link(words, address)


class _Slot:
    """A worker slot."""

    def __init__(self) -> None:
        self.element = ui.element("li").classes("home-slot")
        with self.element:
            self._device = text("strong", "")
            self._work = ui.element("span")
            with self._work:
                self._idle = text("span", "", classes="quiet")
                self._job = link("", "")
            self._left = text("p", "", classes="quiet number")

    def show(self, slot: _Held) -> None:
        """What it does now, and what is left to it."""
        worker, job = slot.worker, slot.job
        _retext(self._device, _place(worker))
        _retext(self._idle, "" if job else "busy" if worker.job_id else "free")
        _retext(self._job, name_of(job) if job else "")
        if job is not None and self._job.props.get("href") != f"/runs/{job.id}":
            self._job.props["href"] = f"/runs/{job.id}"
        _reveal(self._job, shown=job is not None)
        _retext(self._left, _left(worker.resources))


class _Stored:
    """How much disk is left, and what fills it."""

    def __init__(self) -> None:
        with panel("Storage"), ui.element("dl").classes("facts"):
            text("dt", "Free disk")
            self._free = text("dd", "…", classes="number")
            text("dt", "Stored")
            self._total = text("dd", "…", classes="number")
            self._kinds = {
                kind: (text("dt", plural.capitalize()), text("dd", "", classes="number"))
                for kind, (_, plural) in _KINDS.items()
            }

    def show_free(self, free: int | None) -> None:
        """What the file store has left."""
        _retext(self._free, "as much as the bucket takes" if free is None else size(free))

    def show(self, kinds: Mapping[Kind, usage.Use]) -> None:
        """What is stored."""
        _retext(self._total, size(sum(use.size for use in kinds.values())))
        for kind, (singular, plural) in _KINDS.items():
            use, (name, told) = kinds[kind], self._kinds[kind]
            _retext(told, f"{count(use.count, singular, plural)}, {size(use.size)}")
            for part in (name, told):
                _reveal(part, shown=use.count > 0)


def _draw_picture(shown: _Pictured) -> None:
    with ui.element("div").classes("home-picture"):
        if shown.picture is not None:
            picture = ui.element("img").props('alt="" loading=lazy width=64 height=64')
            picture.props["src"] = shown.picture


def _made(job: JobOut) -> tuple[str, str]:
    """Words for what it made, and its page."""
    made = {
        "Open the loss": job.loss_id and f"/losses/{job.loss_id}",
        "Open the restorer": job.model_id and f"/restorers/{job.model_id}",
        "Open the data set": job.dataset_id and f"/datasets/{job.dataset_id}",
        "Open the comparison": job.evaluation_id and f"/compare/{job.evaluation_id}",
    }
    if job.state != State.SUCCEEDED:
        return "", ""
    for words, address in made.items():
        if address:
            return words, address
    return "Open the result", f"/runs/{job.id}"


def _place(worker: Worker) -> str:
    """What a slot computes on, and where; those of one host are told apart by their numbers."""
    slot = worker.id.removeprefix(f"{worker.host}:").partition(":")[0]
    return f"{worker.device} of {worker.host}, slot {slot}"


def _left(resources: Mapping[str, Any]) -> str:
    """Memory, disk and GPU of a worker's host, in words."""
    told = []
    for gpu in resources.get("gpus", []):
        memory = gpu["memory"]
        busy = f", {gpu['utilization']:.0%} busy" if "utilization" in gpu else ""
        told.append(f"GPU memory {size(memory['used'])} of {size(memory['total'])}{busy}")
    if "memory" in resources:
        memory = resources["memory"]
        told.append(f"memory {size(memory['available'])} of {size(memory['total'])} free")
    if "disk" in resources:
        told.append(f"disk {size(resources['disk']['free'])} free")
    return " · ".join(told)


def _tell_troubles(where: ui.element, troubles: Sequence[str]) -> None:
    shown = [child.text for child in where.default_slot.children]  # type: ignore[attr-defined]  # texts
    if shown != list(troubles):
        where.clear()
        with where:
            for trouble in troubles:
                text("p", trouble, classes="note").props("role=alert")


def _retext(element: TextElement, words: str) -> None:
    """Send what is new, and nothing else."""
    if element.text != words:
        element.set_text(words)


def _reveal(element: ui.element, *, shown: bool) -> None:
    if element.visible != shown:
        element.set_visibility(shown)
