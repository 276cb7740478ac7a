"""What a run's page asks for: all at first, thinned, and then only what is new."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import insert

from api.runtime import Runtime
from api.studio.pages.runs.curves import Curves
from api.studio.pages.runs.news import POINTS_OF_SCALE, Known, News, asking
from services.access import LOCAL, Caller
from services.database.schema import Image, Job, JobMetric
from services.errors import NotFoundError
from services.installation import Installation
from services.jobs import lifecycle
from services.jobs.submission import submit
from services.phase1.recipe import DiscriminatorTraining

SCALES = 4


class Page:
    """A page of a training of some scales, which asks as it does."""

    def __init__(self, runtime: Runtime, job: Job) -> None:
        self.job = job
        self._runtime = runtime
        self._database = runtime.installation.database
        self._known: Known | None = None

    def look(self, caller: Caller = LOCAL) -> News:
        """What is new since the last look."""
        with self._database.read() as session:
            news = asking(self._runtime, self.job.id, self._known)(session, caller)
        self._known = news.known
        return news

    def report(self, scale: int, steps: range, value: float = 0.5) -> None:
        """The training has come so far."""
        rows = [
            {"job_id": self.job.id, "scale": scale, "step": step, "content": {"loss": value}}
            for step in steps
        ]
        with self._database.write() as session:
            session.execute(insert(JobMetric), rows)
            lifecycle.record(session, self.job.id, "progress", {"scale": scale})

    def record(self, event: str, **content: object) -> None:
        """Another event."""
        with self._database.write() as session:
            lifecycle.record(session, self.job.id, event, content)


@pytest.fixture
def page(installation: Installation, seed_image: Image) -> Iterator[Page]:
    spec = DiscriminatorTraining(
        seed_image_ids=[seed_image.id],
        task={"kind": "jpeg"},
        preset="quick",
        recipe={"scales": SCALES, "iterations": 30_000},
    )
    with installation.database.write() as session:
        job = submit(session, spec, caller=LOCAL)
    runtime = Runtime.open(installation)
    yield Page(runtime, job)
    runtime.dispatcher.close()


def test_a_hundred_thousand_points_come_thinned(page: Page) -> None:
    for scale in range(1, SCALES + 1):
        page.report(scale, range(1, 25_001))

    news = page.look()

    assert sorted(news.points) == [1, 2, 3, 4]
    for points in news.points.values():
        assert len(points) <= POINTS_OF_SCALE
        assert (points[0][0], points[-1][0]) == (1, 25_000)
    assert news.anew


def test_later_looks_bring_only_what_follows(page: Page) -> None:
    page.report(1, range(1, 51))
    page.report(2, range(1, 11))
    page.look()
    page.report(2, range(11, 14))
    page.report(3, range(1, 3))

    news = page.look()

    steps = {scale: [step for step, _ in points] for scale, points in news.points.items()}
    assert steps == {2: [11, 12, 13], 3: [1, 2]}
    assert not news.anew
    assert page.look().points == {}


def test_a_new_attempt_brings_all_points_anew(page: Page) -> None:
    page.report(1, range(1, 21), value=0.1)
    page.look()
    page.record("state", state="running", attempt=2)

    news = page.look()

    assert news.anew
    assert [step for step, _ in news.points[1]] == list(range(1, 21))


def test_pictures_come_when_there_are_new_ones(page: Page) -> None:
    assert page.look().samples == []
    page.record("log", message="nothing to see")
    assert page.look().samples is None
    page.record("sample", kind="generated", scale=1, step=5)
    assert page.look().samples == []  # asked for; the row of this one is missing


def test_a_stranger_is_told_of_no_job(page: Page) -> None:
    with pytest.raises(NotFoundError):
        page.look(replace(LOCAL, owner="stranger", scopes=frozenset({"read"})))


def test_curves_stay_short_as_they_grow() -> None:
    curves = Curves(100)
    curves.take([(step, {"loss": float(step)}) for step in range(1, 101)], anew=True)
    for begin in range(101, 5001, 50):
        curves.take(
            [(step, {"loss": float(step)}) for step in range(begin, begin + 50)], anew=False
        )
        assert 100 <= len(curves.line("loss", "loss").x) <= 200

    line = curves.line("loss", "loss")
    assert (line.x[0], line.x[-1]) == (1, 5000)
    assert line.y == line.x


def test_a_curve_has_the_points_that_have_its_value() -> None:
    curves = Curves(100)
    curves.take([(1, {"loss": 2.0}), (2, {"loss": 1.0, "validation_loss": 1.234567})], anew=True)

    assert curves.line("validation_loss", "validation").y == [1.2346]
    assert curves.names == {"loss", "validation_loss"}
