"""The training of a loss, scale by scale: a column for each, coarsest to finest."""

from collections.abc import Sequence
from dataclasses import dataclass

from nicegui import ui
from sqlalchemy.orm import Session

from api.schemas import JobOut, SampleOut
from api.studio.elements.charts import LineChart
from api.studio.elements.film import Film, Frame, Picture
from api.studio.frame import panel, text
from api.studio.pages.runs.curves import Curves
from api.studio.pages.runs.news import POINTS_OF_SCALE, News
from api.studio.visitor import Visitor
from services.access import Caller
from services.errors import NotFoundError
from services.images import catalogue as images
from services.jobs.lifecycle import TERMINAL, State
from services.phase1.recipe import DiscriminatorTraining, Recipe, scale_sizes
from services.previews import MAX_SIDE

_CHART_HEIGHT = "112px"
# How a column stands, and the class of a job's state that looks like it.
_LOOKS = {"training": "running", "done": "succeeded", "not trained": "canceled"}


@dataclass(frozen=True)
class _Seed:
    """The first seed image, or what is left of it."""

    address: str | None  # None once it is deleted
    sizes: Sequence[tuple[int, int] | None]  # of each scale, px


class Scales:
    """All columns; those that wait have their places from the start."""

    def __init__(self, spec: DiscriminatorTraining, seed: _Seed) -> None:
        recipe = spec.resolved_recipe()
        with panel("Scales, coarsest to finest", classes="scales-panel"):
            text("p", _READING[recipe.objective], classes="quiet")
            with ui.element("div").classes("scales") as columns:
                columns.props("tabindex=0 role=region")
                columns.props["aria-label"] = "Scales, coarsest to finest"
                finest = seed.sizes[-1] or (1, 1)
                ratio = finest[0] / finest[1]  # for all: their rounding must not shift rows
                self._columns = [
                    _Column(number, recipe, size, seed.address, ratio)
                    for number, size in enumerate(seed.sizes, 1)
                ]

    @classmethod
    async def of(cls, visitor: Visitor, job: JobOut) -> "Scales":
        """The columns of a job."""
        spec = DiscriminatorTraining.model_validate(job.spec)
        return cls(spec, await visitor.read(lambda session, caller: _seed(session, caller, spec)))

    def show(self, news: News) -> None:
        """What has come."""
        for column in self._columns:
            column.show(news)


class _Column:
    """One scale: what it is, how it stands, its pictures and its curves."""

    def __init__(
        self,
        number: int,
        recipe: Recipe,
        size: tuple[int, int] | None,
        seed: str | None,
        ratio: float,
    ) -> None:
        self._number = number
        self._ratio = ratio
        self._seed = _shrunk(seed, size)
        self._state = "waiting"
        self._ended = False
        self._samples: Sequence[SampleOut] = []
        self._curves = Curves(POINTS_OF_SCALE)
        with ui.element("section").classes("scale") as section:
            title = text("h3", f"Scale {number}")
            section.props["aria-labelledby"] = title.html_id
            measured = "deleted seed" if size is None else f"{size[0]} × {size[1]} px"
            channels = recipe.width_at(number - 1)
            text("p", f"{measured}, {channels} channels", classes="quiet scale-size")
            with ui.element("p").classes("scale-state"):
                self._badge = text("span", self._state, classes="state")
                self._step = text("span", "", classes="quiet number")
            self._film = Film(self._pictures(), title=f"scale {number}")
            with ui.element("div").classes("heat") as legend:
                legend.props["title"] = "from the 1st to the 99th percentile of the map"
                text("span", "D low")
                ui.element("span").classes("heat-bar").props("aria-hidden=true")
                text("span", "D high")
            self._charts = {
                lines: LineChart(
                    title=title,
                    x_name="iteration",
                    y_name=f"{title} of scale {number}",
                    x_max=recipe.iterations,
                    log=log,
                    height=_CHART_HEIGHT,
                )
                for title, lines, log in _charts(recipe)
            }

    def show(self, news: News) -> None:
        """What has come, if it is of this scale."""
        ended = news.job.state in TERMINAL
        if news.samples is not None or ended != self._ended:
            self._ended = ended
            self._samples = self._samples if news.samples is None else news.samples
            self._film.show(self._pictures())
            if any(_is(sample, self._number, "map") for sample in self._samples):
                self._state = "done"
        self._show_state(news.job)
        points = news.points.get(self._number, [])
        if points or news.anew:
            self._curves.take(points, anew=news.anew)
            for lines, chart in self._charts.items():
                chart.set(self._curves.lines(dict(lines)))

    def _show_state(self, job: JobOut) -> None:
        progress = job.progress
        here = progress is not None and progress.scale == self._number
        if self._state != "done":
            if job.state in TERMINAL:
                self._state = "not trained"
            elif here and progress is not None:
                self._state = "training" if job.state == State.RUNNING else job.state
            else:
                self._state = "waiting"
        if self._badge.text != self._state:
            self._badge.set_text(self._state)
            self._badge.classes(replace=f"state {_LOOKS.get(self._state, self._state)}")
        step = f"{progress.step} of {progress.steps}" if here and progress is not None else ""
        self._step.set_text("" if self._state == "done" else step)

    def _pictures(self) -> list[Picture]:
        of_scale = f"of scale {self._number}"
        own = {
            kind: [
                Frame(step=each.step, src=each.href)
                for each in self._samples
                if _is(each, self._number, kind)
            ]
            for kind in ("seed", "generated", "map")
        }
        seed = [Frame(step=None, src=frame["src"]) for frame in own["seed"]]
        if not seed and self._seed is not None:
            seed = [Frame(step=None, src=self._seed)]
        return [
            self._picture("Seed", f"the seed {of_scale}", "The seed image is deleted", seed),
            self._picture(
                "Generated",
                f"the generated image {of_scale}",
                "None" if self._ended else "Not yet",
                own["generated"],
            ),
            self._picture(
                "Discriminator's map",
                f"the discriminator's map of the generated image {of_scale}",
                "None" if self._ended else "When the scale is done",
                own["map"],
            ),
        ]

    def _picture(self, name: str, alt: str, waiting: str, frames: list[Frame]) -> Picture:
        return Picture(name=name, alt=alt, ratio=self._ratio, waiting=waiting, frames=frames)


# What the numbers mean.
_READING = {
    "wgan-gp": "The discriminator is a critic: D is high on what looks like the seed. Its loss is "
    "−D(seed) + D(fake) and the gradient penalty; the generator's is −D(fake), and the "
    "reconstruction of the seed. All are means over the image.",
    "bce": "The discriminator's activations are pushed to 1 on the seed and to 0 on what the "
    "generator makes; the generator pushes the latter to 1, and reconstructs the seed.",
}

_Lines = tuple[tuple[str, str], ...]


def _charts(recipe: Recipe) -> list[tuple[str, _Lines, bool]]:
    """Title, lines, and whether the axis is logarithmic, of each chart."""
    critic = recipe.objective == "wgan-gp"
    real, fake = ("−D(seed)", "D(fake)") if critic else ("on the seed", "on fakes")
    penalty = ("Gradient penalty", (("gradient_penalty", "penalty"),), False)
    return [
        (
            "Discriminator's loss",
            (("discriminator_real", real), ("discriminator_fake", fake)),
            False,
        ),
        ("Generator's loss", (("adversarial", "−D(fake)" if critic else "on fakes"),), False),
        *([penalty] if critic else []),
        ("Reconstruction", (("reconstruction", "MSE"),), True),
    ]


def _seed(session: Session, caller: Caller, spec: DiscriminatorTraining) -> _Seed:
    recipe = spec.resolved_recipe()
    try:
        image = images.get(session, spec.seed_image_ids[0], caller)
    except NotFoundError:
        return _Seed(None, [None] * recipe.scales)
    sizes = scale_sizes(recipe, image.width, image.height)
    return _Seed(f"/v1/images/{image.id}/preview", sizes)


def _shrunk(address: str | None, size: tuple[int, int] | None) -> str | None:
    """The seed as the scale has it."""
    if address is None or size is None:
        return None
    fitting = min(1.0, MAX_SIDE / max(size))
    width, height = (max(1, round(side * fitting)) for side in size)
    return f"{address}?to_width={width}&to_height={height}"


def _is(sample: SampleOut, scale: int, kind: str) -> bool:
    return sample.scale == scale and sample.kind == kind
