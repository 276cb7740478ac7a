"""The page of a run, live."""

import asyncio
from contextlib import suppress
from typing import Protocol

from nicegui import ui
from sqlalchemy.exc import SQLAlchemyError

from api.schemas import JobOut
from api.studio.elements.ids import short_id
from api.studio.elements.jobs import TYPES, StateBadge, fraction_of, name_of
from api.studio.frame import page, problem_line, style, text
from api.studio.pages.runs.actions import Actions
from api.studio.pages.runs.brief import draw_brief, draw_equivalents
from api.studio.pages.runs.journal import Journal
from api.studio.pages.runs.news import News, asking
from api.studio.pages.runs.outcome import Files, Result
from api.studio.pages.runs.restorer import RestorerTraining
from api.studio.pages.runs.scales import Scales
from api.studio.pages.runs.standing import Failure, Standing
from api.studio.visitor import Visitor
from api.studio.watching import changes
from services.errors import NotFoundError, QuotaExceededError
from services.jobs.lifecycle import State

# What no event tells: the place in line, or that somebody retries a run that has ended.
_SECONDS_BETWEEN_LOOKS = 3.0


@page("/runs/{job_id}", title="Run")
async def show_run(visitor: Visitor, job_id: str) -> None:
    """One run."""
    style("runs")
    run = Run(visitor, job_id)
    await run.draw()
    ui.timer(0, run.watch, once=True)
    ui.timer(_SECONDS_BETWEEN_LOOKS, run.refresh, immediate=False)


class Part(Protocol):
    """A part of the page that follows the job."""

    def show(self, news: News) -> None:
        """What has come."""


class Run:
    """The page of a job: it is built once, and then told what is new."""

    def __init__(self, visitor: Visitor, job_id: str) -> None:
        self._visitor = visitor
        self._job_id = job_id
        self._parts: list[Part] = []
        self._looking = asyncio.Lock()

    async def draw(self) -> None:
        """Build it."""
        news = await self._visitor.read(asking(self._visitor.runtime, self._job_id, None))
        self._known = news.known
        job = news.job
        with ui.element("div").classes("page-head"):
            self._parts.append(_Title(job))
        self._problem = problem_line()
        refused = problem_line()
        with ui.element("div").classes("row actions"):
            self._parts.append(Result())
            if self._visitor.may_write:
                self._parts.append(
                    Actions(self._visitor, job, problem=refused, refresh=self.refresh)
                )
        self._parts += [Failure(), Standing(news)]
        match job.type:
            case "discriminator_training":
                self._parts.append(await Scales.of(self._visitor, job))
            case "restoration_training":
                self._parts.append(RestorerTraining())
        self._parts.append(Files())
        await draw_brief(job, self._visitor)
        journal = Journal(self._visitor, job)
        await journal.begin()
        self._parts.append(journal)
        draw_equivalents(job, self._visitor)
        self._tell(news)

    async def watch(self) -> None:
        """Follow the job for as long as the page is open."""
        while True:
            # With too many streams open, the page looks now and then all the same; what else is
            # wrong, that look tells.
            with suppress(QuotaExceededError, NotFoundError, SQLAlchemyError):
                async for _ in changes(self._visitor, self._job_id):
                    await self.refresh()
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    async def refresh(self) -> None:
        """Show what is new."""
        async with self._looking:
            ask = asking(self._visitor.runtime, self._job_id, self._known)
            try:
                news = await self._visitor.read(ask)
            except NotFoundError:
                self._problem.set_text("This run has been deleted; what is shown is what it was.")
                return
            except SQLAlchemyError:
                self._problem.set_text("The database does not answer: what is shown may be old.")
                return
            self._known = news.known
            self._tell(news)
            if self._problem.text:
                self._problem.set_text("")

    def _tell(self, news: News) -> None:
        for part in self._parts:
            part.show(news)


class _Title:
    """The heading."""

    def __init__(self, job: JobOut) -> None:
        self._told = ""
        with ui.element("div").classes("row"):
            self._name = text("h1", name_of(job))
            self._state = StateBadge(job.state)
        with ui.element("p").classes("row quiet"):
            text("span", TYPES[job.type])
            short_id(job.id)

    def show(self, news: News) -> None:
        """The name or the state may have changed; the tab tells how far it is."""
        name = name_of(news.job)
        running = news.job.state == State.RUNNING
        told = f"{fraction_of(news.job):.0%}" if running else news.job.state
        if told != self._told:
            self._told = told
            ui.page_title(f"{told} {name} · MDF studio")
        if self._name.text != name:
            self._name.set_text(name)
        self._state.show(news.job.state)
