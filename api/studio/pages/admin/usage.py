"""What owners have, and what the settings allow them."""

from nicegui import ui

from api.studio.elements.tables import Table
from api.studio.frame import empty, link, panel, text
from api.studio.visitor import Visitor
from api.studio.wording import count, size
from services import usage
from services.settings import Settings
from services.usage import Kind

_COUNTED: tuple[Kind, ...] = ("images", "datasets", "losses", "models")


async def show(visitor: Visitor, _: str | None, __: str | None) -> None:
    """Owners and their things; the quotas."""
    found = await visitor.read(lambda session, _: usage.of_all(session))
    with panel("Owners"):
        if found:
            columns = (
                *("Owner", "Stored", "Images", "Data sets", "Losses", "Models"),
                *("Jobs queued", "Jobs running"),
            )
            owners = Table("What owners have", columns, numbers=columns[1:])
            for owner, used in sorted(found.items(), key=lambda each: -each[1].stored_bytes):
                owners.row(
                    owner,
                    size(used.stored_bytes),
                    *(str(used.kinds[kind].count) for kind in _COUNTED),
                    str(used.queued_jobs),
                    str(used.running_jobs),
                )
        else:
            empty("Nobody has anything yet.", action="Upload a photograph", to="/seed")
    with panel("Quotas"):
        text(
            "p",
            "What a key does not lay down itself, these settings do. Requests are counted for "
            "each key, everything else for its owner.",
        )
        _list_quotas(visitor.runtime.installation.settings)
        link("Give a key quotas of its own", "/admin?view=keys")


def _list_quotas(settings: Settings) -> None:
    def most(number: int | None, noun: str) -> str:
        return "no limit" if number is None else count(number, noun)

    stored = settings.stored_bytes
    with ui.element("div"):
        quotas = Table("Quotas", ("Quota", "Allowed", "Setting"), numbers=("Allowed",))
        quotas.row(
            "Requests of a key a minute",
            most(settings.requests_per_minute, "request"),
            "MDF_REQUESTS_PER_MINUTE",
        )
        quotas.row(
            "Stored by an owner",
            "no limit" if stored is None else size(stored),
            "MDF_STORED_BYTES",
        )
        quotas.row(
            "Jobs of an owner in the queue", most(settings.queued_jobs, "job"), "MDF_QUEUED_JOBS"
        )
        quotas.row(
            "Jobs of an owner that run at once",
            most(settings.running_jobs, "job"),
            "MDF_RUNNING_JOBS",
        )
        quotas.row(
            "Jobs of all owners in the queue",
            most(settings.max_queued_jobs, "job"),
            "MDF_MAX_QUEUED_JOBS",
        )
