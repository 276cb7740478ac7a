"""The training of a restorer: its curves, and what it makes of the validation images."""

from collections.abc import Sequence

from nicegui import ui

from api.schemas import JobOut, SampleOut
from api.studio.elements.charts import LineChart
from api.studio.elements.film import Film, Frame, Picture
from api.studio.frame import empty, panel
from api.studio.pages.restorers import words
from api.studio.pages.runs.curves import Curves
from api.studio.pages.runs.news import POINTS, News

# Metrics of the validation, with their units.
_METRICS = {"psnr": "PSNR, dB", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "iw_ssim": "IW-SSIM"}
_VALIDATION = "validation_"


class RestorerTraining:
    """Charts of all that is measured, and the pictures over time."""

    def __init__(self) -> None:
        self._curves = Curves(POINTS)
        self._charts: dict[str, LineChart] = {}  # by title: lines may join later
        self._films: dict[str, Film] = {}
        with panel("Curves"):
            self._grid = ui.element("div").classes("columns")
        with panel("Validation images"):
            self._waiting = ui.element("div")
            with self._waiting:
                empty("The first pictures come with the first validation.")
            self._shown = ui.element("div").classes("validation-films")

    def show(self, news: News) -> None:
        """What has come."""
        points = news.points.get(1, [])
        if points or news.anew:
            self._curves.take(points, anew=news.anew)
            self._draw(news.job)
        if news.samples is not None:
            self._show_pictures(news.samples)

    def _draw(self, job: JobOut) -> None:
        # Where the loss has one part, that part is the loss.
        for title, lines in _charts(self._curves.names - {job.spec["loss"]["kind"]}):
            if title not in self._charts:
                with self._grid:
                    self._charts[title] = LineChart(
                        title=title,
                        x_name="iteration",
                        y_name=title,
                        x_max=None if job.progress is None else job.progress.steps,
                    )
            self._charts[title].set(self._curves.lines(lines))

    def _show_pictures(self, samples: Sequence[SampleOut]) -> None:
        for number in _numbers(samples):
            pictures = [
                _picture(samples, number, "degraded", "Degraded"),
                _picture(samples, number, "restored", "Restored"),
                _picture(samples, number, "target", "Target"),
            ]
            if number in self._films:
                self._films[number].show(pictures)
            else:
                with self._shown:
                    self._films[number] = Film(pictures, title=f"validation image {number}")
        self._waiting.set_visibility(not self._films)


def _charts(names: set[str]) -> list[tuple[str, dict[str, str]]]:
    """Titles and lines: training beside validation where both are measured."""
    found = []
    trained = sorted(name for name in names if not name.startswith(_VALIDATION))
    for name in sorted(trained, key=lambda name: name != "loss"):
        lines = {name: "training"}
        if _VALIDATION + name in names:
            lines[_VALIDATION + name] = "validation"
        found.append((_METRICS.get(name, _spelt(name)), lines))
    validated = (name.removeprefix(_VALIDATION) for name in sorted(names - set(trained)))
    for name in validated:
        if name not in names:
            found.append((_METRICS.get(name, _spelt(name)), {_VALIDATION + name: "validation"}))
    return found


def _spelt(name: str) -> str:
    return words.LOSSES.get(name) or name.replace("_", " ").capitalize()


def _numbers(samples: Sequence[SampleOut]) -> list[str]:
    """The validation images' numbers, in order."""
    numbers = {sample.kind.rpartition("-")[2] for sample in samples}
    return sorted((number for number in numbers if number.isdigit()), key=int)


def _picture(samples: Sequence[SampleOut], number: str, kind: str, name: str) -> Picture:
    own = [sample for sample in samples if sample.kind == f"{kind}-{number}"]
    still = kind != "restored"
    return Picture(
        name=name,
        alt=f"validation image {number}, {name.lower()}",
        ratio=1.0,
        waiting="Not yet",
        frames=[Frame(step=None if still else each.step, src=each.href) for each in own],
    )
