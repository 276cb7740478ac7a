"""Data sets: what restorers are trained on. Upload, import, look, delete."""

from collections.abc import Callable
from functools import partial

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement
from sqlalchemy.orm import Session

from api.studio.elements.archive_upload import ArchiveUpload
from api.studio.elements.deletion import deletion
from api.studio.elements.ids import copy_button, short_id
from api.studio.elements.image_viewer import ImageViewer, Source
from api.studio.elements.times import moment
from api.studio.frame import (
    button,
    empty,
    heading,
    link,
    page,
    panel,
    problem_line,
    style,
    telling,
    text,
)
from api.studio.visitor import Visitor
from api.studio.wording import count, duration, number, size
from services.access import Caller
from services.database.schema import Dataset, DatasetImage, Job
from services.datasets import catalogue, sheet, uploads
from services.datasets.catalogue import Described, State
from services.datasets.source import Folder
from services.installation import Installation
from services.listing import Page
from services.names import cleaned, without_control

Look = Callable[[int, str], None]

# How often a page asks how far an import is, in seconds.
_ASK_EVERY = 1.0
_LISTED = 24
_MEMBERS = 25
_BAD_FILES = 200

# States of data sets as those of jobs look.
_LOOKS = {
    State.UPLOADING: "paused",
    State.IMPORTING: "running",
    State.READY: "succeeded",
    State.FAILED: "failed",
}


@page("/datasets", title="Data sets")
async def show_list(visitor: Visitor, cursor: str | None = None) -> None:
    """All data sets, newest first, and a way to make one."""
    style("datasets")
    heading("Data sets", lead="Pictures to train restorers on, and to validate them with.")
    if visitor.may_write:
        with panel("New data set"):
            ArchiveUpload(on_done=lambda made: ui.navigate.to(f"/datasets/{made}"))
            if visitor.runtime.installation.settings.dataset_root_list:
                _offer_folder(visitor)

    def ask(session: Session, caller: Caller) -> tuple[list[Described], str | None]:
        found = catalogue.list_datasets(session, caller, limit=_LISTED, cursor=cursor)
        return catalogue.describe(session, found.items), found.next_cursor

    listed, following = await visitor.read(ask)
    if not listed:
        empty("There is no data set yet. Put photographs into a zip file, and drop it above.")
        return
    with ui.element("ul").classes("dataset-list"):
        cards = {each.dataset.id: _Card(each) for each in listed}
    if following:
        link("Older data sets", f"/datasets?cursor={following}", classes="button")

    async def refresh() -> None:
        wanted = [made for made, each in cards.items() if not each.is_settled]
        if wanted:
            for each in await visitor.read(partial(_described, dataset_ids=wanted)):
                cards[each.dataset.id].show(each)

    ui.timer(_ASK_EVERY, refresh, immediate=False)


@page("/datasets/{dataset_id}", title="Data set")
async def show_one(
    visitor: Visitor, dataset_id: str, cursor: str | None = None, image: int | None = None
) -> None:
    """One data set: how its import goes, and what is in it."""
    style("datasets")
    await visitor.read(lambda session, caller: catalogue.get(session, dataset_id, caller))
    described, job = await visitor.read(partial(_with_job, dataset_id=dataset_id))
    dataset = described.dataset
    with ui.element("div").classes("row"):
        heading(dataset.name)
        state = text("span", "")
        _say_state(state, described)
    with ui.element("div").classes("columns"):
        with panel("What it is"):
            _show_facts(dataset)
            if visitor.may_write:
                _offer_deletion(visitor, dataset)
        if described.state is not State.READY:
            _show_way(visitor, described, job, state)
    if described.state is State.READY:
        await _show_pictures(visitor, dataset, cursor, image)
    if dataset.bad_file_count:
        _show_bad_files(dataset)


class _Card:
    """A data set in the list; `show` says what has become of it."""

    def __init__(self, described: Described) -> None:
        dataset = described.dataset
        with ui.element("li").classes("dataset-card"):
            self._thumbnail = ui.element("div").classes("dataset-thumbnail")
            with ui.element("div").classes("dataset-words"):
                link(dataset.name, f"/datasets/{dataset.id}", classes="dataset-name")
                self._state = text("span", "")
                self._told = text("p", "", classes="quiet")
                moment(dataset.created)
        self.is_settled = False
        self.show(described)

    def show(self, described: Described) -> None:
        """What the data set is now."""
        dataset = described.dataset
        _say_state(self._state, described)
        self._told.set_text(_in_words(described))
        self.is_settled = described.state in (State.READY, State.FAILED)
        if dataset.sheet is not None:
            self._thumbnail.clear()
            with self._thumbnail:
                _sheet_image(dataset, words=f"Thumbnails of {dataset.name}")


def _offer_folder(visitor: Visitor) -> None:
    """Importing what lies on the server, where its operator allows that."""
    with ui.element("details").classes("folder-import"):
        text("summary", "Or import a folder of the server")
        roots = ", ".join(visitor.runtime.installation.settings.dataset_root_list)
        with ui.element("div").classes("field"):
            text("label", "Folder or bucket prefix").props("for=folder")
            field = ui.element("input").props("id=folder maxlength=4096").classes("text")
            text("span", f"Its operator allows what lies below {roots}.", classes="help")
        given = {"location": ""}
        field.on("input", lambda event: given.update(location=event.args), js_handler=_VALUE)

        async def begin() -> None:
            with telling(problem):
                location = without_control(given["location"])
                made, job = await visitor.write(partial(_import_folder, location, visitor))
                if job is not None:
                    await visitor.runtime.announcements.announce(job.id, job.type)
                ui.navigate.to(f"/datasets/{made.id}")

        button("Import", begin)
        problem = problem_line()


_VALUE = "(event) => emit(event.target.value)"


def _import_folder(
    location: str, visitor: Visitor, session: Session, caller: Caller
) -> tuple[Dataset, Job | None]:
    name = location.rstrip("/").rpartition("/")[2] or "folder"
    return uploads.create(
        session,
        visitor.runtime.installation,
        Folder(location=location or "/"),
        name=cleaned(name),
        on_bad_file="skip",
        caller=caller,
    )


def _described(session: Session, caller: Caller, *, dataset_ids: list[str]) -> list[Described]:
    return catalogue.describe(
        session, [catalogue.get(session, each, caller) for each in dataset_ids]
    )


def _with_job(session: Session, caller: Caller, *, dataset_id: str) -> tuple[Described, Job | None]:
    (described,) = _described(session, caller, dataset_ids=[dataset_id])
    job_id = described.dataset.job_id
    return described, None if job_id is None else session.get(Job, job_id)


def _say_state(where: TextElement, described: Described) -> None:
    where.set_text(described.state.capitalize())
    where.classes(replace=f"state {_LOOKS[described.state]}")


def _in_words(described: Described) -> str:
    dataset = described.dataset
    match described.state:
        case State.READY:
            return f"{count(dataset.images, 'image')}, {_megapixels(dataset)}"
        case State.UPLOADING:
            return f"{size(dataset.received)} of {size(dataset.size or 0)} are here"
        case State.IMPORTING:
            return "Its pictures are being checked and stored"
        case State.FAILED:
            return described.error or "Its import failed"


def _megapixels(dataset: Dataset) -> str:
    return f"{number(dataset.pixels / 1e6, digits=3)} megapixels"


def _show_facts(dataset: Dataset) -> None:
    with ui.element("dl").classes("facts"):
        text("dt", "Id")
        with ui.element("dd"):
            short_id(dataset.id)
        if dataset.ready is not None:
            text("dt", "Images")
            text("dd", f"{count(dataset.images, 'image')}, {_megapixels(dataset)} together")
        text("dt", "From")
        if dataset.size is not None:
            text("dd", f"an archive of {size(dataset.size)}")
        else:
            text("dd", str(dataset.source.get("location", "a folder of the server")))
        text("dt", "Created")
        with ui.element("dd"):
            moment(dataset.created)
        if dataset.ready is not None:
            text("dt", "Ready")
            with ui.element("dd"):
                moment(dataset.ready)
        if dataset.digest is not None:
            text("dt", "Digest")
            with ui.element("dd").classes("row"):
                text("code", f"{dataset.digest[:12]}…").props["title"] = dataset.digest
                copy_button(dataset.digest, of="digest")
        if dataset.job_id is not None:
            text("dt", "Import")
            with ui.element("dd"):
                link("its job", f"/runs/{dataset.job_id}")
    if dataset.ready is not None:
        with ui.element("div").classes("row"):
            to = f"/restorers/train?dataset={dataset.id}"
            link("Train a restorer on it", to, classes="button")


def _offer_deletion(visitor: Visitor, dataset: Dataset) -> None:
    def delete(installation: Installation, caller: Caller) -> int:
        return catalogue.delete(installation.database, installation.blobs, dataset.id, caller)

    async def act() -> None:
        await visitor.do(delete, needs="write")
        ui.navigate.to("/datasets")

    consequence = "Its pictures go with it; what was trained on them stays."
    deletion(f"data set {dataset.name}", consequence=consequence, act=act)


def _show_way(visitor: Visitor, described: Described, job: Job | None, state: TextElement) -> None:
    """How far a data set is that is not ready, followed until it is."""
    dataset = described.dataset
    with panel("On its way"):
        words = text("p", "").props("role=status")
        bar = ui.element("progress").classes("dataset-progress").props("max=1")
        bar.props["aria-label"] = "Import"
        if described.state is State.UPLOADING and visitor.may_write:
            text("p", "The upload was interrupted, or goes on in another window.", classes="quiet")
            ArchiveUpload(on_done=lambda _: ui.navigate.reload(), unfinished=dataset)

    def tell(described: Described, job: Job | None) -> None:
        _say_state(state, described)
        progress = (job.progress if job is not None else None) or {}
        share = progress.get("fraction")
        sentence = _in_words(described)
        if described.state is State.IMPORTING:
            if job is not None and job.state != "running":
                sentence = f"Its import is {job.state}"
            elif share is not None:
                sentence = f"{sentence}: {share:.0%}"
                eta = progress.get("eta_seconds")
                sentence += f", about {duration(eta)} left" if eta is not None else ""
            bar.props["value"] = share if share is not None else 0
        words.set_text(f"{sentence}.")
        bar.set_visibility(described.state is State.IMPORTING)

    async def refresh() -> None:
        now, job = await visitor.read(partial(_with_job, dataset_id=dataset.id))
        tell(now, job)
        if now.state is not described.state:
            timer.cancel()
            ui.navigate.reload()

    tell(described, job)
    timer = ui.timer(_ASK_EVERY, refresh, immediate=False)


async def _show_pictures(
    visitor: Visitor, dataset: Dataset, cursor: str | None, shown: int | None
) -> None:
    """The sheet, a table of all pictures, and one of them closely."""
    places = sheet.shown_positions(dataset.images)

    def ask(session: Session, _: Caller) -> tuple[list[str], Page[DatasetImage]]:
        names = [catalogue.image(session, dataset.id, position).name for position in places]
        found = catalogue.images(session, dataset.id, limit=_MEMBERS, cursor=cursor)
        return names, found

    names, members = await visitor.read(ask)
    position = shown if shown is not None and 0 <= shown < dataset.images else 0
    label = await visitor.read(
        lambda session, _: catalogue.image(session, dataset.id, position).name
    )

    def look(position: int, name: str) -> None:
        viewer.set_sources([_source(dataset, position, name)])
        query = f"&cursor={cursor}" if cursor is not None else ""
        ui.navigate.history.replace(f"/datasets/{dataset.id}?image={position}{query}")

    with ui.element("div").classes("dataset-pictures"):
        with panel("Pictures"):
            if len(places) < dataset.images:
                text("p", f"{len(places)} of {count(dataset.images, 'image')}.", classes="quiet")
            with ui.element("div").classes("dataset-sheet"):
                _sheet_image(dataset, words="")
                width, height = sheet.sheet_size(len(places))
                for place, (at, name) in enumerate(zip(places, names, strict=True)):
                    left, top = sheet.cell(place, len(places))
                    pick = button("", partial(look, at, name), classes="sheet-cell")
                    pick.props["aria-label"] = f"Look at {name}"
                    pick.props["title"] = name
                    pick.style(
                        f"left: {left / width:.4%}; top: {top / height:.4%}; "
                        f"width: {sheet.CELL / width:.4%}; height: {sheet.CELL / height:.4%}"
                    )
        with panel("Closely"):
            viewer = ImageViewer(
                [_source(dataset, position, label)], mode="single", title="Picture"
            )
    with panel("All pictures"):
        _show_members(dataset, members, look)


def _show_members(dataset: Dataset, members: Page[DatasetImage], look: Look) -> None:
    with ui.element("div").classes("scroll"), ui.element("table").classes("plain-table"):
        with ui.element("thead"), ui.element("tr"):
            for name, classes in (("Name", ""), ("Size, px", "number"), ("File", "number")):
                text("th", name, classes=classes).props("scope=col")
        with ui.element("tbody"):
            for each in members.items:
                with ui.element("tr"):
                    with ui.element("td"):
                        act = partial(look, each.position, each.name)
                        button(each.name, act, classes="plain small")
                    text("td", f"{each.width} × {each.height}", classes="number")
                    text("td", size(each.size), classes="number")
    first = members.items[0].position if members.items else 0
    with ui.element("div").classes("row"):
        last = first + len(members.items)
        text("span", f"{first + 1} to {last} of {count(dataset.images, 'image')}", classes="quiet")
        if first:
            link("From the start", f"/datasets/{dataset.id}")
        if members.next_cursor is not None:
            link("Next", f"/datasets/{dataset.id}?cursor={members.next_cursor}")


def _show_bad_files(dataset: Dataset) -> None:
    """What was left out, and why."""
    many = count(dataset.bad_file_count, "file")
    with panel("Left out"), ui.element("details"):
        text("summary", f"{many} not taken, and why")
        with ui.element("div").classes("scroll"), ui.element("table").classes("plain-table"):
            with ui.element("thead"), ui.element("tr"):
                for name in ("Name", "Why"):
                    text("th", name).props("scope=col")
            with ui.element("tbody"):
                for each in dataset.bad_files[:_BAD_FILES]:
                    with ui.element("tr"):
                        text("td", each["name"])
                        text("td", each["reason"])
        if dataset.bad_file_count > _BAD_FILES:
            text("p", f"These are the first {_BAD_FILES}.", classes="quiet")


def _source(dataset: Dataset, position: int, name: str) -> Source:
    return Source(src=f"/v1/datasets/{dataset.id}/images/{position}/content", label=name)


def _sheet_image(dataset: Dataset, *, words: str) -> None:
    width, height = sheet.sheet_size(len(sheet.shown_positions(dataset.images)))
    drawn = ui.element("img").props(f"width={width} height={height} loading=lazy")
    drawn.props["src"] = f"/v1/datasets/{dataset.id}/sheet"
    drawn.props["alt"] = words
