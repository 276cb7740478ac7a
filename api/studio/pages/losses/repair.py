"""Repair by descent: pixels that follow a loss's gradient, live, beside other losses."""

import asyncio
from collections.abc import Awaitable, Callable

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from api.studio.elements.charts import Line, LineChart
from api.studio.elements.controls import Choice, Slider
from api.studio.frame import button, panel, problem_line, telling, text
from api.studio.pages.losses.pictures import embedded
from api.studio.visitor import Visitor
from api.studio.wording import number
from services.access import Caller
from services.blobs import StoredFile
from services.database.schema import Loss
from services.errors import UnavailableError
from services.installation import Installation
from services.losses import catalogue, descent
from services.losses.descent import Descent, Objective, Piece, Point
from services.losses.playground import Pair, fitting_size

# Others have their turn after so long, at the latest after one step.
_SECONDS = 0.6
_STEPS = 10  # between two pictures
_NAMES: dict[Objective, str] = {"mdf": "this loss", "l1": "L1", "l2": "L2", "ssim": "SSIM"}
_START_RATE = 0.03


class _Track:
    """The descent on one objective: its state, its curve, and its picture on the page."""

    def __init__(self, objective: Objective, state: Descent, png: bytes) -> None:
        self.objective = objective
        self.state = state
        self.points: list[Point] = []
        height, width = state.target.shape[1:]
        with ui.element("figure").classes("track") as self.figure:
            self._image = ui.element("img").classes("pixels")
            self._image.props["alt"] = f"the image after descent on {_NAMES[objective]}"
            self._image.props["width"], self._image.props["height"] = width, height
            self._image.props["src"] = embedded(png)
            with ui.element("figcaption"):
                text("strong", _NAMES[objective])
                self._words: TextElement = text("span", "step 0", classes="number")

    def take(self, piece: Piece) -> None:
        """Show how far it has come."""
        self.state = piece.state
        self.points += piece.points
        last = self.points[-1]
        self._image.props["src"] = embedded(piece.png)
        self._words.set_text(
            f"step {last.step}: value {number(last.value, digits=3)}, PSNR {last.psnr:.2f} dB"
        )


class Repair:
    """The panel of the descents. One runs at a time, in pieces, as long as the page is open.

    Args:
        visitor: for whom.
        loss: that is descended on.
        shrink: is given the longer side, px, that the page's images are to be shrunk to.
    """

    def __init__(
        self, visitor: Visitor, loss: Loss, *, shrink: Callable[[int], Awaitable[None]]
    ) -> None:
        self._visitor = visitor
        self._loss = loss
        self._shrink = shrink
        self._pair: Pair | None = None
        self._file: StoredFile | None = None
        self._from = "noise"
        self._rate = _START_RATE
        self._fits = False
        self._round: object | None = None  # the run that goes on
        self._client = ui.context.client
        with panel("Repair by descent"):
            text(
                "p",
                "The pixels themselves follow the gradient, by Adam. What the loss does not see "
                "stays as it was: compare with pixelwise losses.",
                classes="quiet",
            )
            Choice(
                "Start",
                {"noise": "From white noise", "image": "From the judged image"},
                self._from,
                self._choose_start,
            )
            with ui.element("fieldset").classes("row checks"):
                text("legend", "Descend on")
                self._wanted: dict[Objective, bool] = {
                    "mdf": True,
                    "l2": True,
                    "l1": False,
                    "ssim": False,
                }
                for objective in self._wanted:
                    self._draw_check(objective)
            Slider(
                "Step",
                value=_START_RATE,
                low=0.002,
                high=0.1,
                step=0.002,
                unit="of a pixel's range",
                act=self._choose_rate,
            )
            with ui.element("div").classes("row"):
                self._start = button("Start", self._run, classes="button")
                self._stop = button("Stop", self._halt)
                self._reset = button("Reset", self._forget)
            self._limit = ui.element("div").classes("row")
            self._state = text("p", "", classes="quiet").props("role=status")
            self._problem = problem_line()
            self._tracks: dict[Objective, _Track] = {}
            self._places = ui.element("div").classes("tracks")
            with ui.element("div").classes("columns") as self._charts:
                self._psnr = LineChart(x_name="step", y_name="PSNR, dB")
                self._values = LineChart(
                    x_name="step", y_name="Value, as share of the first", log=True
                )
            self._charts.set_visibility(False)
        self._settle()

    def take(self, pair: Pair, size: tuple[int, int], file: StoredFile) -> None:
        """Work on this pair from now on."""
        if pair == self._pair:
            return
        self._pair, self._file = pair, file
        self._forget()
        allowed = fitting_size(
            *size, None, file.size, operations=descent.MAX_OPERATIONS, pixels=descent.MAX_PIXELS
        )
        self._limit.clear()
        self._fits = allowed == size
        if not self._fits:
            side = max(16, max(allowed) // 16 * 16)
            with self._limit:
                text(
                    "span",
                    f"Here a step on {size[0]}×{size[1]} px takes longer than others should wait.",
                )
                button(f"Shrink to {side} px", lambda: self._shrink(side))
        self._settle()

    def _draw_check(self, objective: Objective) -> None:
        def change(checked: bool) -> None:
            self._wanted[objective] = checked

        with ui.element("label"):
            box = ui.element("input").props("type=checkbox")
            box.props["checked"] = self._wanted[objective]
            box.on(
                "change",
                lambda event: change(bool(event.args)),
                js_handler="(event) => emit(event.target.checked)",
            )
            text("span", _NAMES[objective])

    def _choose_start(self, start: str) -> None:
        self._from = start
        self._forget()

    def _choose_rate(self, rate: float) -> None:
        self._rate = rate

    def _settle(self) -> None:
        """Which buttons make sense."""
        self._start.set_text("Go on" if self._tracks else "Start")
        self._start.props["disabled"] = self._round is not None or not self._fits
        self._stop.props["disabled"] = self._round is None
        self._reset.props["disabled"] = not self._tracks

    def _halt(self) -> None:
        self._round = None
        self._settle()

    def _forget(self) -> None:
        self._tracks.clear()
        self._places.clear()
        self._charts.set_visibility(False)
        self._state.set_text("")
        self._problem.set_text("")
        self._halt()

    async def _run(self) -> None:
        if self._round is not None or self._pair is None or not self._fits:
            return
        self._round = mine = object()
        self._settle()
        try:
            with telling(self._problem):
                await self._descend(self._pair, mine)
        finally:
            if self._round is mine and not self._client.is_deleted:
                self._halt()

    async def _descend(self, pair: Pair, mine: object) -> None:
        self._state.set_text("Starting …")
        for objective, wanted in self._wanted.items():
            if wanted and objective not in self._tracks:
                state, png = await self._first(pair)
                if self._round is not mine:
                    return
                self._begin(objective, state, png)
        self._state.set_text("" if self._tracks else "Choose at least one to descend on.")
        tracks = list(self._tracks.values())
        while tracks and self._round is mine and not self._client.is_deleted:
            if not self._client.has_socket_connection:  # nobody looks
                await asyncio.sleep(_SECONDS)
                continue
            lead = tracks[0]
            for track in tracks:
                steps = _STEPS if track is lead else lead.state.step - track.state.step
                if steps <= 0:
                    continue
                piece = await self._piece(track, steps)
                if self._round is not mine:
                    return
                track.take(piece)
            self._draw_curves(tracks)
            if lead.state.step >= descent.MAX_STEPS:
                self._state.set_text(f"Done: {descent.MAX_STEPS} steps are the most here.")
                return

    async def _first(self, pair: Pair) -> tuple[Descent, bytes]:
        start = pair.image if self._from == "image" else None
        async with self._visitor.bench() as bench:
            state = await bench.run(descent.begin, pair.target, start)
            return state, await bench.run(descent.picture, state)

    def _begin(self, objective: Objective, state: Descent, png: bytes) -> None:
        with self._places:
            self._tracks[objective] = _Track(objective, state, png)
        self._settle()

    async def _piece(self, track: _Track, steps: int) -> Piece:
        """Go on for a short while; it counts as a request of the visitor's does."""

        def find(installation: Installation, caller: Caller) -> str:
            with installation.database.read() as session:
                catalogue.get(session, self._loss.id, caller)
                return catalogue.file(session, self._loss.id, "safetensors").blob

        key = await self._visitor.do(find)
        while True:
            try:
                async with self._visitor.bench() as bench:
                    return await bench.run(
                        descent.descend,
                        self._visitor.runtime.installation.blobs.location,
                        key,
                        track.state,
                        objective=track.objective,
                        rate=self._rate,
                        seconds=_SECONDS,
                        steps=steps,
                    )
            except UnavailableError:  # many wait: they go first
                self._state.set_text("Waiting for others …")
                await asyncio.sleep(_SECONDS)
                self._state.set_text("")

    def _draw_curves(self, tracks: list[_Track]) -> None:
        self._charts.set_visibility(True)
        self._psnr.set(
            [
                Line(_NAMES[track.objective], _steps(track), [each.psnr for each in track.points])
                for track in tracks
            ]
        )
        self._values.set(
            [
                Line(
                    _NAMES[track.objective],
                    _steps(track),
                    [each.value / (track.points[0].value or 1) for each in track.points],
                )
                for track in tracks
            ]
        )


def _steps(track: _Track) -> list[float]:
    return [float(each.step) for each in track.points]
