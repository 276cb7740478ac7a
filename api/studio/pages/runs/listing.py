"""The list of runs, kept up to date in place."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from nicegui import ui
from sqlalchemy.orm import Session

from api.routers.jobs import described
from api.schemas import JobOut
from api.studio.elements.jobs import TYPES, ProgressBar, StateBadge, made_by, name_of
from api.studio.elements.times import moment
from api.studio.frame import empty, heading, link, page, panel, style, text
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
        jobs, cursor = await self._visitor.read(self._ask)
        is_first_use = not jobs and self._filters == Filters()
        self._empty.set_visibility(is_first_use)
        self._panel.set_visibility(not is_first_use)
        self._none.set_visibility(not jobs)
        self._older.set_visibility(cursor is not None)
        older = replace(self._filters, cursor=cursor or "").address
        if self._older.props.get("href") != older:
            self._older.props["href"] = older
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
        with ui.element("div").classes("row"):
            self._choice("state", "State", {state.value: state.value for state in State})
            self._choice("type", "Kind", TYPES)
        with ui.element("div") as self._empty:
            empty(
                "Nothing has run here yet. Train a loss: it takes a photograph and a task.",
                action="Train a loss",
                to="/train",
            )
        with panel("All runs" if self._filters == Filters() else "Runs that match") as self._panel:
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
                newest = link("Newest", replace(self._filters, cursor="").address)
                newest.set_visibility(bool(self._filters.cursor))
                self._older = link("Older", "")

    def _ask(self, session: Session, caller: Caller) -> tuple[list[JobOut], str | None]:
        filters = self._filters
        found = queries.list_jobs(
            session,
            caller,
            state=State(filters.state) if filters.state else None,
            type=filters.type or None,
            limit=_ROWS,
            cursor=filters.cursor or None,
        )
        return described(session, found.items, self._visitor.runtime), found.next_cursor

    def _choice(self, name: str, label: str, options: Mapping[str, str]) -> None:
        with ui.element("label").classes("row"):
            text("span", label)
            with ui.element("select").classes("text") as choice:
                for value, words in {"": "all", **options}.items():
                    option = text("option", words)
                    option.props["value"] = value
                    if value == getattr(self._filters, name):
                        option.props("selected")

        def filter_by(value: str) -> None:
            wanted = {"state": self._filters.state, "type": self._filters.type, name: value}
            ui.navigate.to(Filters(**wanted).address)

        choice.on(
            "change",
            lambda event: filter_by(str(event.args)),
            js_handler="(event) => emit(event.target.value)",
        )


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
