"""Storage: what fills it, what nobody needs, and how much room is left."""

from collections.abc import Callable, Mapping

from nicegui import ui

from api.studio.elements.dialogs import dialog
from api.studio.elements.tables import Table
from api.studio.frame import panel, problem_line, telling, text
from api.studio.visitor import Visitor
from api.studio.wording import count, size
from services import census
from services.access import Caller
from services.installation import Installation
from services.retention import expiry, orphans
from services.retention.survey import Survey, survey
from services.usage import Kind, Use

# How kinds are called, and folders that are called otherwise than what lies in them.
_KINDS: Mapping[Kind, str] = {
    "images": "Images",
    "datasets": "Data sets",
    "losses": "Losses",
    "models": "Models",
    "samples": "Samples of trainings",
    "artifacts": "Results of jobs",
    "checkpoints": "Checkpoints",
}
_MISSING_SHOWN = 5


async def show(visitor: Visitor, _: str | None, __: str | None) -> None:
    """What there is of each kind, and what lies on the disk; counted once the page is there."""
    with panel("What owners have"):
        waiting = text("p", "Counting …", classes="quiet").props("role=status")
        kinds = Table("Objects by kind", ("Kind", "Number", "Size"), numbers=("Number", "Size"))
    with panel("What lies in the store"):
        told = text("p", "Looking at every file …", classes="quiet").props("role=status")
        columns = ("Folder", "Files", "Size", "Share", "Orphans")
        files = Table("Files by folder", columns, numbers=("Files", "Size", "Orphans"))
        warnings = ui.element("div")
        text(
            "p",
            "Orphans are files that nothing refers to, left by a crash. Workers remove them "
            "within an hour or two.",
            classes="quiet",
        )
        if visitor.is_admin:
            _offer_sweep(visitor, lambda: ui.timer(0, fill, once=True))

    async def fill() -> None:
        stored = await visitor.read(lambda session, _: census.stored(session))
        kinds.clear()
        _fill_kinds(kinds, stored)
        waiting.set_text(
            "Files that several objects share are counted for each of them: this is what quotas "
            "count, and more than lies on the disk."
        )
        found = await visitor.do(_survey, needs="admin")
        files.clear()
        _fill_files(files, found)
        told.set_text(_free_in_words(found, visitor.runtime.installation))
        warnings.clear()
        with warnings:
            _warn(found)

    ui.timer(0, fill, once=True)


def _survey(installation: Installation, _: Caller) -> Survey:
    return survey(installation)


def _fill_kinds(kinds: Table, stored: Mapping[Kind, Use]) -> None:
    for kind, name in _KINDS.items():
        kinds.row(name, str(stored[kind].count), size(stored[kind].size))


def _fill_files(files: Table, found: Survey) -> None:
    for kept in sorted(found.kinds, key=lambda kept: -kept.size):
        share = kept.size / found.size if found.size else 0.0
        files.row(
            kept.name,
            str(kept.files),
            size(kept.size),
            lambda share=share, name=kept.name: _draw_share(share, name),  # type: ignore[misc]
            f"{kept.orphans}, {size(kept.orphan_size)}" if kept.orphans else "0",
        )
    files.row("all", "", size(found.size), "", size(found.orphan_size))


def _draw_share(share: float, name: str) -> None:
    with ui.element("div").classes("share"):
        bar = ui.element("progress").props("max=1")
        bar.props["value"] = share
        bar.props["aria-label"] = f"Share of {name}"
        text("span", f"{share:.0%}".replace("%", "\u202f%"), classes="number")


def _free_in_words(found: Survey, installation: Installation) -> str:
    if found.free is None:
        return "In a bucket, whose room is not known here."
    free = f"{size(found.free)} are free on the disk."
    floor = installation.settings.disk_floor_bytes
    if not floor:
        return free
    return f"{free} Below {size(floor)} new uploads and jobs are refused, and running ones wait."


def _warn(found: Survey) -> None:
    if not found.missing:
        return
    with ui.element("div").classes("note").props("role=alert"):
        text("p", f"{count(len(found.missing), 'file')} missing, whose downloads fail:")
        with ui.element("ul"):
            for key in found.missing[:_MISSING_SHOWN]:
                text("li", key)


def _offer_sweep(visitor: Visitor, look_again: Callable[[], object]) -> None:
    async def sweep(_: Mapping[str, str]) -> None:
        with telling(problem):
            freed = await visitor.do(_sweep, needs="admin")
            told.set_text(f"{size(freed)} freed.")
            look_again()

    question = dialog(
        "Free what nobody needs …", title="Free what nobody needs?", act=sweep, does="Free it"
    )
    with ui.element("div").classes("row"), question:
        text(
            "p",
            "Removes orphans that are an hour old, and what is past the time that the settings "
            "keep it for. Workers do the same by themselves.",
        )
    told = text("p", "").props("role=status")
    problem = problem_line()


def _sweep(installation: Installation, _: Caller) -> int:
    return expiry.expire(installation) + sum(entry.size for entry in orphans.remove(installation))
