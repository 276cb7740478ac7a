"""What a run has made: the loss, the model, the data set or the comparison, and its files."""

from collections.abc import Sequence

from nicegui import ui

from api.schemas import ArtifactOut, JobOut
from api.studio import wording
from api.studio.elements.image_viewer import ImageViewer, Source
from api.studio.elements.jobs import made_by
from api.studio.frame import link, panel, text
from api.studio.pages.runs.news import News

_NAMES = {
    "contact_sheet": "Contact sheet",
    "restored": "Restored",
    "evaluation": "All values of the comparison",
}


class Result:
    """A link to what it has made, once that is there."""

    def __init__(self) -> None:
        self._link = link("", "", classes="button made")
        self._link.set_visibility(False)

    def show(self, news: News) -> None:
        """It may be there now."""
        made = made_by(news.job)
        if made is not None and self._link.text != made[0]:
            words, to = made
            self._link.props["href"] = to
            self._link.set_text(words)
            self._link.set_visibility(True)


class Files:
    """Its artifacts, to look at and to download."""

    def __init__(self) -> None:
        self._shown: list[ArtifactOut] = []
        self._place = ui.element("div")
        self._place.set_visibility(False)

    def show(self, news: News) -> None:
        """They may be there now."""
        if news.artifacts == self._shown:
            return
        self._shown = news.artifacts
        self._place.clear()
        self._place.set_visibility(bool(news.artifacts))
        with self._place, panel("Files"):
            _draw_downloads(news.artifacts)
            for artifact in news.artifacts:
                if artifact.media_type.startswith("image/"):
                    _draw_picture(news.job, artifact)


def _draw_downloads(artifacts: Sequence[ArtifactOut]) -> None:
    with ui.element("ul").classes("files"):
        for artifact in artifacts:
            with ui.element("li"):
                link(f"Download: {_name(artifact)}", artifact.href).props("download")
                text("span", f" {wording.size(artifact.size)}", classes="quiet")


def _draw_picture(job: JobOut, artifact: ArtifactOut) -> None:
    sources = [Source(src=artifact.href, label=_name(artifact))]
    images = job.spec.get("image_ids")
    if artifact.kind == "restored" and images:
        sources.insert(0, Source(src=f"/v1/images/{images[0]}/content", label="Before"))
    ImageViewer(sources, mode="slider" if len(sources) > 1 else "single", title=_name(artifact))


def _name(artifact: ArtifactOut) -> str:
    return _NAMES.get(artifact.kind, artifact.kind)
