"""A run's log, newest last, paged back."""

from collections.abc import Mapping
from typing import Any

from nicegui import ui
from sqlalchemy.orm import Session

from api.schemas import EventOut, JobOut, ProgressOut
from api.studio.elements.jobs import step_in_words
from api.studio.elements.times import moment
from api.studio.frame import button, panel, text
from api.studio.pages.runs.news import News
from api.studio.visitor import Visitor
from services.access import Caller
from services.jobs import queries
from services.jobs.lifecycle import State

_PAGE = 50
_MOST = 500  # lines that are shown; the rest is paged back to
# Without the steps and the pictures, which the page shows anyhow.
_KINDS = ("state", "checkpoint", "log", "artifact")


class Journal:
    """The last lines, and those before them on demand."""

    def __init__(self, visitor: Visitor, job: JobOut) -> None:
        self._visitor = visitor
        self._job = job
        self._all = False
        self._shown: list[tuple[int, ui.element]] = []  # numbers of events, and their lines
        with panel("Log"):
            with ui.element("div").classes("row"):
                self._earlier = button("Earlier lines", self._page_back)
                with ui.element("label").classes("row"):
                    box = ui.element("input").props("type=checkbox")
                    text("span", "Steps and pictures, too")
                box.on("change", lambda event: self._toggle(event.args), js_handler=_CHECKED)
            with ui.element("div").classes("journal") as scroll:
                scroll.props("tabindex=0 role=log")
                scroll.props["aria-label"] = "Log"
                self._lines = ui.element("ol")

    async def begin(self) -> None:
        """Show the last lines."""
        self._lines.clear()
        self._shown = []
        await self._page_back()

    def show(self, news: News) -> None:
        """Add what has come."""
        last = self._shown[-1][0] if self._shown else 0
        fresh = [each for each in news.events if each.seq > last and self._is_shown(each)]
        with self._lines:
            self._shown += [(event.seq, _draw_line(self._job, event)) for event in fresh]
        for _, line in self._shown[:-_MOST]:
            line.delete()
            self._earlier.set_visibility(True)
        self._shown = self._shown[-_MOST:]

    async def _toggle(self, shown: bool) -> None:
        self._all = shown
        await self.begin()

    async def _page_back(self) -> None:
        kinds = None if self._all else _KINDS
        first = self._shown[0][0] if self._shown else None

        def ask(session: Session, caller: Caller) -> list[EventOut]:
            job = queries.get(session, self._job.id, caller)
            rows = queries.events_before(session, job.id, first, kinds=kinds, limit=_PAGE)
            return [EventOut.model_validate(row) for row in rows]

        found = await self._visitor.read(ask)
        with self._lines:
            lines = [(event.seq, _draw_line(self._job, event)) for event in found]
        for place, (_, line) in enumerate(lines):
            line.move(target_index=place)
        self._shown = [*lines, *self._shown]
        self._earlier.set_visibility(len(found) == _PAGE)

    def _is_shown(self, event: EventOut) -> bool:
        return self._all or event.kind in _KINDS


_CHECKED = "(event) => emit(event.target.checked)"


def _draw_line(job: JobOut, event: EventOut) -> ui.element:
    with ui.element("li").classes("line") as line:
        moment(event.created)
        text("span", event.kind, classes="quiet")
        text("span", _words(job, event))
    return line


def _words(job: JobOut, event: EventOut) -> str:
    content = event.content
    match event.kind:
        case "state":
            return _state_in_words(content)
        case "checkpoint" if "step" in content:
            return f"saved at {_step(job, {'fraction': 0, **content})}"
        case "progress":
            return _step(job, content)
        case "sample":
            return f"{content['kind']} of scale {content['scale']}, iteration {content['step']}"
    return str(content.get("message") or content.get("kind") or "saved")


def _state_in_words(content: Mapping[str, Any]) -> str:
    state, error = content["state"], content.get("error")
    if state == State.FAILED and error:
        return f"failed: {error['message']}"
    return f"running, attempt {content['attempt']}" if state == State.RUNNING else str(state)


def _step(job: JobOut, position: Mapping[str, Any]) -> str:
    return step_in_words(job.type, ProgressOut.model_validate(position))
