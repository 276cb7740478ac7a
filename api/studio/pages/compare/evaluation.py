"""One comparison: a table, violins, perception against distortion, tests, and the images."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from api.schemas import (
    CandidateOut,
    ImageScoresOut,
    PairedTestOut,
    WholeEvaluationOut,
    YardstickOut,
)
from api.studio.elements.ids import short_id
from api.studio.elements.image_viewer import ImageViewer, Source
from api.studio.elements.plane import Measure, Plane, Point
from api.studio.elements.times import moment
from api.studio.elements.violin import Group, Violins
from api.studio.frame import heading, link, page, panel, style, text
from api.studio.pages.restorers import words
from api.studio.visitor import Visitor
from api.studio.wording import count, number
from services.access import Caller
from services.evaluation import catalogue
from services.evaluation.catalogue import REFERENCE
from services.evaluation.spec import INPUT
from services.installation import Installation

_FEW = 10  # images, with which intervals are wide
_WORST = 25  # images that are listed
# Metrics that ask how far pixels are off; by the others, losses among them, people judge alike.
_DISTORTION = ("psnr", "l1", "l2", "ssim", "ms_ssim")
_MARKS = "ABCDEFGHIJKLMNOP"
_VALUE = "(event) => emit(event.target.value)"


@page("/compare/{evaluation_id}", title="Comparison")
async def show(
    visitor: Visitor,
    evaluation_id: str,
    *,
    by: str = "",
    x: str = "",
    y: str = "",
    candidate: str = "",
    image: int = -1,
) -> None:
    """The page; the query has what was chosen on it before."""
    style("compare")

    def ask(
        installation: Installation, caller: Caller
    ) -> tuple[WholeEvaluationOut, list[ImageScoresOut]]:
        with installation.database.read() as session:
            row = catalogue.get(session, evaluation_id, caller)
        scores = catalogue.scores(installation, row)
        images = [ImageScoresOut.of(each, row.job_id) for each in scores]
        return WholeEvaluationOut.of(row), images

    found, images = await visitor.do(ask)
    _Comparison(found, images, {"by": by, "x": x, "y": y, "candidate": candidate}, image).draw()


class _Comparison:
    """The parts of the page, and what is chosen on it."""

    def __init__(
        self,
        evaluation: WholeEvaluationOut,
        images: Sequence[ImageScoresOut],
        chosen: Mapping[str, str],
        position: int,
    ) -> None:
        candidates = [_named(each) for each in evaluation.candidates]
        evaluation = evaluation.model_copy(update={"candidates": candidates})
        self._evaluation = evaluation
        self._images = images
        self._metrics = {each.name: each for each in evaluation.metrics}
        self._candidates = {each.id: each for each in evaluation.candidates}
        self._marks = {
            each.id: "0" if each.id == INPUT else _MARKS[place - 1]
            for place, each in enumerate(evaluation.candidates)
        }
        self._tests = {
            (each.metric, frozenset((each.first, each.second))): each
            for each in evaluation.comparisons
        }
        self._shown = [each for each in images if each.pictures]
        first, perceptual = _axes(evaluation.metrics)
        self._by = self._metrics.get(chosen["by"], evaluation.metrics[0])
        self._x = self._metrics.get(chosen["x"], first)
        self._y = self._metrics.get(chosen["y"], perceptual)
        self._candidate = self._candidates.get(chosen["candidate"], self._ranked()[0])
        self._image = next(
            (each for each in self._shown if each.position == position),
            self._shown[0] if self._shown else None,
        )

    def draw(self) -> None:
        """All of the page."""
        evaluation = self._evaluation
        heading(evaluation.name or f"Comparison of {count(len(evaluation.model_ids), 'restorer')}")
        self._draw_facts()
        with panel("Scores"):
            self._draw_table()
        with panel("Distributions"):
            self._draw_violins()
        if len(self._metrics) > 1:
            with panel("Perception and distortion"):
                self._draw_plane()
        with panel("Which differences are real"):
            self._draw_tests()
        with panel("Images", classes="compare-images") as self._pictures:
            self._pictures.props["tabindex"] = "-1"
            self._draw_pictures()

    def _draw_facts(self) -> None:
        evaluation, dataset = self._evaluation, self._evaluation.dataset
        with panel("What was compared"):
            with ui.element("dl").classes("facts"):
                _fact("Task", words.task(evaluation.task))
                text("dt", "Data set")
                with text("dd", ""):
                    link(dataset.name or dataset.id, f"/datasets/{dataset.id}")
                held_out = ", which trainings on this data set held out" * dataset.held_out
                _fact("Images", f"{dataset.images}{held_out}")
                _fact("Measured", f"as 8-bit files, at most {evaluation.crop} px a side")
                text("dt", "Made")
                with text("dd", ""), ui.element("div").classes("row"):
                    moment(evaluation.created)
                    link("its run", f"/runs/{evaluation.job_id}")
                text("dt", "Id")
                with text("dd", ""):
                    short_id(evaluation.id)
            address = f"/v1/jobs/{evaluation.job_id}/artifacts/evaluation/content"
            with ui.element("div").classes("row"):
                link("Download all values (JSON)", address, classes="button").props("download")
            for candidate in evaluation.candidates:
                if candidate.trained_on_these:
                    said = f"{candidate.name} was trained on these images: its scores flatter it."
                    text("p", said, classes="note")
            if dataset.images < _FEW:
                few = "One image tells" if dataset.images == 1 else f"{dataset.images} images tell"
                said = f"{few} little: see how wide intervals are."
                text("p", said, classes="note")

    @ui.refreshable_method
    def _draw_table(self) -> None:
        said = "Means over the images with their 95 % confidence intervals, and the score that "
        text("p", f"{said}5 % of the images fall short of. Sort by a metric.", classes="quiet")
        with _scrolling("Scores"), ui.element("table").classes("plain-table compare-table"):
            with ui.element("thead"), ui.element("tr"):
                text("th", "Candidate").props("scope=col")
                for metric in self._metrics.values():
                    self._draw_heading(metric)
            with ui.element("tbody"):
                for candidate in self._ranked():
                    self._draw_row(candidate)

    def _draw_heading(self, metric: YardstickOut) -> None:
        here = metric == self._by
        with text("th", "", classes="number").props("scope=col") as cell:
            if here:
                cell.props["aria-sort"] = "descending" if metric.higher_is_better else "ascending"
            arrow = " ▾" if here else ""
            button = text("button", f"{_label(metric)}{arrow}").props("type=button")
            better = "higher" if metric.higher_is_better else "lower"
            button.props["title"] = f"{better} is better; sort by it, best first"
            button.on("click", lambda _, by=metric: self._sort(by), args=[])
            text("span", f"{better} is better", classes="interval")

    def _draw_row(self, candidate: CandidateOut) -> None:
        with ui.element("tr"):
            with text("th", "").props("scope=row"):
                self._draw_name(candidate)
            for metric in self._metrics.values():
                result = candidate.results[metric.name]
                best = candidate.id == _best(self._evaluation.candidates, metric)
                with text("td", "", classes="number"):
                    with text("span", "", classes="score best" if best else "score"):
                        if best:
                            text("span", "best", classes="badge")
                        text("span", _measured(result.mean, metric))
                    if result.mean_interval is not None:
                        low, high = (_plain(each, metric) for each in result.mean_interval)
                        text("span", f"{low} to {high}", classes="interval")
                    worst = f"5 % below {_plain(result.worst, metric)}"
                    if not metric.higher_is_better:
                        worst = worst.replace("below", "above")
                    text("span", worst, classes="interval")

    def _draw_name(self, candidate: CandidateOut) -> None:
        name = text("button", "", classes="compare-name").props("type=button")
        name.props["aria-pressed"] = "true" if candidate == self._candidate else "false"
        name.props["title"] = "Show its images"
        with name:
            text("span", self._marks[candidate.id], classes="mark")
            with ui.element("span"):
                text("span", candidate.name)
                if candidate.network is not None:
                    text("span", _describe(candidate), classes="quiet")
        name.on("click", partial(self._pick, candidate.id), args=[])

    def _draw_violins(self) -> None:
        with ui.element("div").classes("violin-legend"):
            for kind, said in (
                ("of-mean", "mean with 95 % confidence interval"),
                ("of-worst", "5 % of the images are worse, with 95 % interval by bootstrap"),
            ):
                with text("span", ""):
                    ui.element("i").classes(kind).props("aria-hidden=true")
                    text("span", said)
        with ui.element("div").classes("compare-violins"):
            for metric in self._metrics.values():
                Violins(
                    [self._group(each, metric) for each in self._evaluation.candidates],
                    title=_label(metric),
                    higher_is_better=metric.higher_is_better,
                    on_pick=self._pick,
                )

    def _group(self, candidate: CandidateOut, metric: YardstickOut) -> Group:
        result = candidate.results[metric.name]
        return Group(
            candidate.id,
            self._marks[candidate.id],
            candidate.name,
            [image.values[candidate.id][metric.name] for image in self._images],
            result.mean,
            result.mean_interval,
            result.worst,
            result.worst_interval,
        )

    @ui.refreshable_method
    def _draw_plane(self) -> None:
        said = "Means, with confidence intervals. What is nearest to the lower left corner is near "
        text("p", f"{said}to the originals and looks so, too.", classes="quiet")
        with ui.element("div").classes("compare-choice"):
            self._draw_choice("Across", self._x, "x")
            self._draw_choice("Up", self._y, "y")
        points = [
            Point(
                each.id,
                self._marks[each.id],
                each.name,
                each.results[self._x.name].mean,
                each.results[self._y.name].mean,
                each.results[self._x.name].mean_interval,
                each.results[self._y.name].mean_interval,
            )
            for each in self._evaluation.candidates
        ]
        Plane(points, x=_measure(self._x), y=_measure(self._y), on_pick=self._pick)
        named = (f"{self._marks[each.id]} {each.name}" for each in self._evaluation.candidates)
        text("p", " · ".join(named), classes="quiet")

    @ui.refreshable_method
    def _draw_tests(self) -> None:
        said = "One-tailed paired t-tests at 0.05: whether the row is better than the column. "
        text("p", f"{said}Each stands alone; of twenty, one may err.", classes="quiet")
        with ui.element("div").classes("compare-choice"):
            self._draw_choice("Metric", self._by, "by")
        with (
            _scrolling(f"Tests by {_label(self._by)}"),
            ui.element("table").classes("compare-tests"),
        ):
            with ui.element("thead"), ui.element("tr"):
                text("th", "Is better than").props("scope=col")
                for candidate in self._evaluation.candidates:
                    with text("th", "").props("scope=col") as cell:
                        cell.props["title"] = candidate.name
                        text("span", self._marks[candidate.id], classes="mark")
            with ui.element("tbody"):
                for candidate in self._evaluation.candidates:
                    self._draw_tests_of(candidate)

    def _draw_tests_of(self, row: CandidateOut) -> None:
        with ui.element("tr"):
            with text("th", "").props("scope=row"), ui.element("span").classes("row"):
                text("span", self._marks[row.id], classes="mark")
                text("span", row.name)
            for column in self._evaluation.candidates:
                if column == row:
                    text("td", "—", classes="quiet")
                    continue
                (test,) = (
                    each
                    for each in self._evaluation.comparisons
                    if each.metric == self._by.name
                    and {each.first, each.second} == {row.id, column.id}
                )
                text("td", _verdict(test, row.id), classes=_colour(test, row.id))

    def _draw_choice(self, label: str, chosen: YardstickOut, what: str) -> None:
        with ui.element("div").classes("field"):
            text("label", label).props["for"] = f"choose-{what}"
            field = ui.element("select").classes("text")
            field.props["id"] = f"choose-{what}"
            with field:
                for metric in self._metrics.values():
                    option = text("option", _label(metric))
                    option.props["value"] = metric.name
                    if metric == chosen:
                        option.props["selected"] = True
            field.on("change", lambda event: self._choose(what, event.args), js_handler=_VALUE)

    @ui.refreshable_method
    def _draw_pictures(self) -> None:
        if self._image is None:
            text("p", "There are no pictures of this comparison.", classes="quiet")
            return
        with ui.element("div").classes("compare-choice"):
            self._draw_image_choice(self._image)
            self._draw_candidate_choice()
        ImageViewer(
            list(self._sources(self._image)),
            mode="slider",
            title=f"{self._image.name}: {self._candidate.name}",
        )
        if max(self._image.width, self._image.height) > 512:
            text("p", "The middle of the image, 512 px at most.", classes="quiet")
        self._draw_values(self._image)
        self._draw_worst()

    def _sources(self, image: ImageScoresOut) -> Iterator[Source]:
        labels = {INPUT: "Degraded input", REFERENCE: "Original"}
        wanted = dict.fromkeys((INPUT, self._candidate.id, REFERENCE))
        for each in wanted:
            label = labels.get(each) or f"{self._marks[each]} {self._candidates[each].name}"
            yield {"src": image.pictures[each], "label": label}

    def _draw_image_choice(self, chosen: ImageScoresOut) -> None:
        with ui.element("div").classes("field"):
            text("label", "Image").props("for=choose-image")
            field = ui.element("select").classes("text").props("id=choose-image")
            with field:
                for image in self._shown:
                    option = text("option", image.name)
                    option.props["value"] = str(image.position)
                    if image == chosen:
                        option.props["selected"] = True
            field.on("change", lambda event: self._look(int(event.args)), js_handler=_VALUE)

    def _draw_candidate_choice(self) -> None:
        with ui.element("div").classes("field"):
            text("label", "Restored by").props("for=choose-candidate")
            field = ui.element("select").classes("text").props("id=choose-candidate")
            with field:
                for candidate in self._evaluation.candidates:
                    option = text("option", f"{self._marks[candidate.id]} {candidate.name}")
                    option.props["value"] = candidate.id
                    if candidate == self._candidate:
                        option.props["selected"] = True
            field.on("change", lambda event: self._take(event.args), js_handler=_VALUE)

    def _draw_values(self, image: ImageScoresOut) -> None:
        with (
            _scrolling(f"Scores of {image.name}"),
            ui.element("table").classes("plain-table compare-values"),
        ):
            text("caption", f"Scores of {image.name}, {image.width} × {image.height} px")
            with ui.element("thead"), ui.element("tr"):
                text("th", "Candidate").props("scope=col")
                for metric in self._metrics.values():
                    text("th", _label(metric), classes="number").props("scope=col")
            with ui.element("tbody"):
                for candidate in self._evaluation.candidates:
                    with ui.element("tr"):
                        name = f"{self._marks[candidate.id]} {candidate.name}"
                        text("td", name)
                        for metric in self._metrics.values():
                            value = image.values[candidate.id][metric.name]
                            text("td", _measured(value, metric), classes="number")

    def _draw_worst(self) -> None:
        """The images on which the chosen candidate does worst, those with pictures as buttons."""
        metric, chosen = self._by, self._candidate
        ordered = sorted(
            self._images,
            key=lambda image: image.values[chosen.id][metric.name],
            reverse=not metric.higher_is_better,
        )
        with ui.element("details").classes("compare-worst"):
            text("summary", f"Images on which {chosen.name} does worst by {metric.label}")
            with ui.element("ol"):
                for image in ordered[:_WORST]:
                    with ui.element("li"):
                        said = _measured(image.values[chosen.id][metric.name], metric)
                        if image.pictures:
                            button = text("button", image.name, classes="plain small")
                            button.props("type=button")
                            button.on("click", partial(self._look, image.position), args=[])
                        else:
                            text("span", image.name)
                        text("span", f" {said}", classes="number")

    def _ranked(self) -> list[CandidateOut]:
        metric = self._by
        return sorted(
            self._evaluation.candidates,
            key=lambda each: each.results[metric.name].mean,
            reverse=metric.higher_is_better,
        )

    def _sort(self, metric: YardstickOut) -> None:
        self._choose("by", metric.name)

    def _choose(self, what: str, name: str) -> None:
        metric = self._metrics.get(name)
        if metric is None:
            return
        if what == "by":
            self._by = metric
            self._draw_table.refresh()
            self._draw_tests.refresh()
            self._draw_pictures.refresh()
        else:
            setattr(self, f"_{what}", metric)
            self._draw_plane.refresh()
        self._keep()

    def _pick(self, candidate_id: str) -> None:
        """Show the images of a candidate, and lead there."""
        self._take(candidate_id)
        self._pictures.run_method("focus", {"preventScroll": True})
        self._pictures.run_method("scrollIntoView", {"behavior": "smooth"})

    def _take(self, candidate_id: str) -> None:
        if candidate_id in self._candidates:
            self._candidate = self._candidates[candidate_id]
            self._draw_table.refresh()
            self._draw_pictures.refresh()
            self._keep()

    def _look(self, position: int) -> None:
        self._image = next((each for each in self._shown if each.position == position), self._image)
        self._draw_pictures.refresh()
        self._keep()

    def _keep(self) -> None:
        """In the address, so that a reload shows the same."""
        chosen: dict[str, Any] = {
            "by": self._by.name,
            "x": self._x.name,
            "y": self._y.name,
            "candidate": self._candidate.id,
        }
        if self._image is not None:
            chosen["image"] = self._image.position
        ui.navigate.history.replace(f"/compare/{self._evaluation.id}?{urlencode(chosen)}")


def _scrolling(label: str) -> ui.element:
    """What scrolls sideways where its table is too wide, by keys too."""
    around = ui.element("div").classes("scroll").props("tabindex=0 role=region")
    around.props["aria-label"] = label
    return around


def _axes(metrics: Sequence[YardstickOut]) -> tuple[YardstickOut, YardstickOut]:
    """What to begin with: a metric of distortion, and one of perception if there is one."""
    distortion = [each for each in metrics if each.name in _DISTORTION]
    perception = [each for each in metrics if each.name not in _DISTORTION]
    # MDF losses and LPIPS stand at the end.
    return (distortion or metrics)[0], (perception or metrics)[-1]


def _best(candidates: Sequence[CandidateOut], metric: YardstickOut) -> str:
    best = max if metric.higher_is_better else min
    return best(candidates, key=lambda each: each.results[metric.name].mean).id


def _verdict(test: PairedTestOut, row: str) -> str:
    """What a test says of the candidate in the row: whether it is better, and the chance."""
    if test.p is None:
        return "cannot be told"
    chance = test.p if test.first == row else 1 - test.p
    said = "p < 0.001" if chance < 0.001 else f"p = {chance:.3f}"
    if test.better == row:
        return f"yes, {said}"
    return "no, worse" if test.better else f"not shown, {said}"


def _colour(test: PairedTestOut, row: str) -> str:
    if test.better is None:
        return "quiet"
    return "wins" if test.better == row else "loses"


def _describe(candidate: CandidateOut) -> str:
    """`DnCNN, L1 + 0.1 · MDF`."""
    parts = [words.network(candidate.network or {})]
    if candidate.loss:
        parts.append(words.loss(candidate.loss))
    return ", ".join(parts)


def _measure(metric: YardstickOut) -> Measure:
    return Measure(_label(metric), metric.higher_is_better)


def _label(metric: YardstickOut) -> str:
    return f"{metric.label}, {metric.unit}" if metric.unit else metric.label


def _measured(value: float, metric: YardstickOut) -> str:
    return f"{_plain(value, metric)} {metric.unit}".rstrip()


def _plain(value: float, metric: YardstickOut) -> str:
    return f"{value:.2f}" if metric.unit == "dB" else number(value)


def _named(candidate: CandidateOut) -> CandidateOut:
    """With what it is for a name, where nobody has given it one."""
    if candidate.name:
        return candidate
    return candidate.model_copy(update={"name": _describe(candidate)})


def _fact(name: str, value: str) -> None:
    text("dt", name)
    text("dd", value)
