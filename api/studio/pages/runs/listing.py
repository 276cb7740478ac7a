"""The list of runs, kept up to date in place."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlencode

from nicegui import ui
from sqlalchemy.orm import Session

from api.routers.jobs import described
from api.runtime import Runtime
from api.schemas import JobOut
from api.studio.elements.jobs import TYPES, ProgressBar, StateBadge, made_by, name_of
from api.studio.elements.times import moment
from api.studio.frame import empty, heading, link, page, style, text
from api.studio.visitor import Visitor
from mdf.commands.terminal import describe_task
from services.access import Caller
from services.errors import NotFoundError
from services.jobs import queries
from services.jobs.lifecycle import State

_COLUMNS = ("Name", "State", "Progress", "Kind", "Submitted", "Result")
_ROWS = 25
_SECONDS_BETWEEN_LOOKS = 2.0


@page("/runs", title="Runs")
async def show(visitor: Visitor, state: str = "", type: str = "", cursor: str = "") -> None:
    """All runs, newest first."""
    style("runs")
    if state not in ("", *State) or type not in ("", *TYPES):
        raise NotFoundError("There are no runs of that state or kind.")
    listing = Listing(visitor, Filters(state, type, cursor))
    await listing.refresh()
    ui.timer(_SECONDS_BETWEEN_LOOKS, listing.refresh, immediate=False)


@dataclass(frozen=True)
class Filters:
    """Which runs are shown; they stand in the address."""

    state: str = ""
    type: str = ""
    cursor: str = ""

    @property
    def address(self) -> str:
        """Of the list with them."""
        given = {name: value for name, value in vars(self).items() if value}
        return f"/runs?{urlencode(given)}" if given else "/runs"


class Listing:
    """A page of the list."""

    def __init__(self, visitor: Visitor, filters: Filters) -> None:
        self._visitor = visitor
        self._filters = filters
        self._rows: dict[str, _Row] = {}
        self._draw()

    async def refresh(self) -> None:
        """Show how they stand now."""
        filters = self._filters
        jobs, cursor = await self._visitor.read(partial(_ask, filters, self._visitor.runtime))
        if filters != self._filters:  # Others were chosen meanwhile, and are on their way.
            return
        self._title.set_text("All runs" if filters == Filters() else "Runs that match")
        is_first_use = not jobs and filters == Filters()
        self._empty.set_visibility(is_first_use)
        self._panel.set_visibility(not is_first_use)
        self._none.set_visibility(not jobs)
        self._older.set_visibility(cursor is not None)
        _lead(self._older, replace(filters, cursor=cursor or ""))
        self._newest.set_visibility(bool(filters.cursor))
        _lead(self._newest, replace(filters, cursor=""))
        for gone in self._rows.keys() - {job.id for job in jobs}:
            self._rows.pop(gone).line.delete()
        for place, job in enumerate(jobs):
            if job.id in self._rows:
                self._rows[job.id].show(job)
                continue
            with self._body:
                self._rows[job.id] = row = _Row(job)
            row.line.move(target_index=place)

    def _draw(self) -> None:
        heading("Runs", lead="Trainings, restorations, comparisons and imports, newest first.")
        with ui.element("form").classes("row"):
            self._choice("state", "State", {state.value: state.value for state in State})
            self._choice("type", "Kind", TYPES)
        with ui.element("div") as self._empty:
            empty(
                "Nothing has run here yet. Train a loss: it takes a photograph and a task.",
                action="Train a loss",
                to="/train",
            )
        with ui.element("section").classes("panel") as self._panel:
            self._title = text("h2", "Runs")
            with ui.element("div").classes("scroll").props("tabindex=0 role=region") as scroll:
                scroll.props["aria-label"] = "Runs"
                with ui.element("table").classes("plain-table runs"):
                    with ui.element("thead"), ui.element("tr"):
                        for name in _COLUMNS:
                            text("th", name).props("scope=col")
                    self._body = ui.element("tbody")
            self._none = text("p", "None.", classes="quiet")
            with ui.element("nav").classes("row") as pages:
                pages.props["aria-label"] = "Pages of runs"
                self._newest = link("Newest", "")
                self._older = link("Older", "")

    def _choice(self, name: str, label: str, options: Mapping[str, str]) -> None:
        with ui.element("label").classes("row"):
            text("span", label)
            with ui.element("select").classes("text").props(f"name={name}") as choice:
                for value, words in {"": "all", **options}.items():
                    option = text("option", words)
                    option.props["value"] = value
                    if value == getattr(self._filters, name):
                        option.props("selected")

        # All choices as they stand in the browser: the page may not have heard of the last one yet.
        choice.on(
            "change",
            lambda event: self._filter(event.args),
            js_handler="(event) => emit(Object.fromEntries(new FormData(event.target.form)))",
        )

    async def _filter(self, chosen: dict[str, str]) -> None:
        state, type = chosen["state"], chosen["type"]
        if state not in ("", *State) or type not in ("", *TYPES):
            return
        self._filters = Filters(state, type)
        await self.refresh()
        ui.navigate.history.replace(self._filters.address)


def _ask(
    filters: Filters, runtime: Runtime, session: Session, caller: Caller
) -> tuple[list[JobOut], str | None]:
    found = queries.list_jobs(
        session,
        caller,
        state=State(filters.state) if filters.state else None,
        type=filters.type or None,
        limit=_ROWS,
        cursor=filters.cursor or None,
    )
    return described(session, found.items, runtime), found.next_cursor


def _lead(anchor: ui.element, filters: Filters) -> None:
    if anchor.props.get("href") != filters.address:
        anchor.props["href"] = filters.address


class _Row:
    """A run in the list."""

    def __init__(self, job: JobOut) -> None:
        with ui.element("tr") as self.line:
            with ui.element("td"):
                self._name = link(name_of(job), f"/runs/{job.id}")
                text("div", _work(job), classes="quiet")
            with ui.element("td"):
                self._state = StateBadge(job.state)
            with ui.element("td"):
                self._progress = ProgressBar(job)
            text("td", TYPES[job.type])
            with ui.element("td"):
                moment(job.created)
            with ui.element("td"):
                self._made = link("", "")
        self.show(job)

    def show(self, job: JobOut) -> None:
        """It has got on."""
        self._state.show(job.state)
        self._progress.show(job)
        if self._name.text != name_of(job):
            self._name.set_text(name_of(job))
        words, to = made_by(job) or ("", "")
        self._made.set_visibility(bool(words))
        if self._made.text != words:
            self._made.props["href"] = to
            self._made.set_text(words)


def _work(job: JobOut) -> str:
    """What it is about, in a few words."""
    task = job.spec.get("task")
    return describe_task(task) if task else ""
