"""API keys: make them, see when they were used, change and revoke them."""

from collections.abc import Mapping
from functools import partial

from nicegui import ui
from sqlalchemy.orm import Session

from api.studio.elements.dialogs import dialog
from api.studio.elements.forms import choice, field, form
from api.studio.elements.ids import copy_button, short_id
from api.studio.elements.tables import Table
from api.studio.elements.times import moment
from api.studio.frame import button, link, panel, problem_line, telling, text
from api.studio.visitor import Visitor
from api.studio.wording import count, size
from services import access, keys
from services.access import Caller
from services.database.schema import ApiKey
from services.errors import BadInputError
from services.listing import Page
from services.settings import Settings

SCOPES: Mapping[str, str] = {
    "read": "read: look at the owner's things, and download them",
    "write": "write: upload, train, restore and delete as well",
    "admin": "admin: see what all owners have, and this page",
}
GIGABYTE = 10**9


async def show(visitor: Visitor, of: str | None, cursor: str | None) -> None:
    """The keys, or one of them closely."""
    if of is not None:
        await _show_one(visitor, of)
        return
    has_keys = await visitor.read(lambda session, _: keys.required(session))
    if has_keys:
        _offer_new(visitor)
    else:
        _offer_first(visitor)
    found = await visitor.read(lambda session, _: keys.list_keys(session, limit=50, cursor=cursor))
    if found.items:
        _list(found)


def _offer_first(visitor: Visitor) -> None:
    settings = visitor.runtime.installation.settings

    async def make(values: Mapping[str, str]) -> None:
        key, token = await visitor.write(partial(_create, values=values), needs="admin")
        before.delete()
        with made:
            _show_token(key, token, is_first=True)

    with ui.element("div") as before:
        _tell_of_first_key(settings)
        with panel("Make the first key"), form(make, does="Make the key"):
            _key_fields(visitor, {"admin": SCOPES["admin"]}, chosen="admin")
    made = ui.element("div").props("role=status")


def _tell_of_first_key(settings: Settings) -> None:
    with panel("No key is needed yet"):
        text(
            "p",
            f"This installation answers its own machine only, at {settings.host}, and whoever "
            "uses that machine may do everything. Make a key to let others in.",
        )
        with ui.element("ul"):
            text("li", "The first key has the scope admin.")
            text("li", "From then on everybody needs a key: programs, mdf, and this browser.")
            text(
                "li",
                "Only then can the service listen beyond this machine: MDF_HOST=0.0.0.0, "
                "best behind a proxy with TLS.",
            )
            text("li", "What has been made so far belongs to the owner local; an admin sees it.")


def _offer_new(visitor: Visitor) -> None:
    async def make(values: Mapping[str, str]) -> None:
        key, token = await visitor.write(partial(_create, values=values), needs="admin")
        made.clear()
        with made:
            _show_token(key, token, is_first=False)

    with panel("New key"):
        with form(make, does="Make the key"):
            _key_fields(visitor, SCOPES, chosen="write")
        made = ui.element("div").props("role=status")


def _key_fields(visitor: Visitor, scopes: Mapping[str, str], *, chosen: str) -> None:
    field("name", "What it is for", required=True, maxlength=200, placeholder="laptop")
    field(
        "owner",
        "Owner",
        help="Whom all that is made with the key belongs to: letters, digits and . _ @ -",
        value=visitor.caller.owner,
        required=True,
        maxlength=100,
    )
    choice("scope", "It may", scopes, chosen=chosen)
    _quota_fields({}, visitor.runtime.installation.settings)


def _create(session: Session, _: Caller, *, values: Mapping[str, str]) -> tuple[ApiKey, str]:
    return keys.create(
        session,
        name=values["name"],
        owner=values["owner"],
        scopes=[scope for scope in access.SCOPES if scope == values["scope"]],
        quotas=_quotas(values),
    )


def _show_token(key: ApiKey, token: str, *, is_first: bool) -> None:
    with ui.element("div").classes("secret"):
        text("h3", f"The key {key.name}")
        text("p", "It is shown this once. Copy it to where it is used, and keep it secret.")
        with ui.element("div").classes("row"):
            text("code", token, classes="token")
            copy_button(token, of=f"the key {key.name}")
        text("p", "Programs send it as Authorization: Bearer …, mdf takes it from MDF_API_KEY.")
        if is_first:
            text("p", "From now on this browser needs it too.")
            log_in = button("Log in with this key", classes="button")
            log_in.on("click", js_handler=_LOG_IN)
        else:
            link("Show all keys", "/admin?view=keys")


_LOG_IN = """async () => {
  await fetch("/v1/session", {
    method: "POST",
    headers: {"Content-Type": "application/json"},
    body: JSON.stringify({api_key: document.querySelector(".token").textContent}),
  });
  location.assign("/admin?view=keys");
}"""


def _list(found: Page[ApiKey]) -> None:
    with panel("Keys"):
        columns = ("Name", "Owner", "May", "Own quotas", "Made", "Last used", "State", "Id")
        listed = Table("API keys", columns)
        for key in found.items:
            listed.row(
                partial(link, key.name, f"/admin?view=keys&of={key.id}"),
                key.owner,
                _may(key),
                _quotas_in_words(key.quotas) or "—",
                partial(moment, key.created),
                partial(moment, key.last_used, never="never"),
                partial(_show_state, key),
                partial(short_id, key.id),
            )
        if found.next_cursor:
            link("Older keys", f"/admin?view=keys&cursor={found.next_cursor}")


def _show_state(key: ApiKey) -> None:
    if key.revoked is None:
        text("span", "in force", classes="state succeeded")
    else:
        with text("span", "revoked ", classes="state"):
            moment(key.revoked)


async def _show_one(visitor: Visitor, key_id: str) -> None:
    key = await visitor.read(lambda session, _: keys.get(session, key_id))

    async def change(values: Mapping[str, str]) -> None:
        await visitor.write(
            lambda session, _: keys.change(
                session, key.id, name=values["name"], quotas=_quotas(values)
            ),
            needs="admin",
        )
        ui.notify("Changed; it holds from the key's next request on.", type="positive")

    async def revoke(_: Mapping[str, str]) -> None:
        with telling(problem):
            await visitor.write(lambda session, _: keys.revoke(session, key.id), needs="admin")
            ui.navigate.to(f"/admin?view=keys&of={key.id}")

    link("All keys", "/admin?view=keys")
    with ui.element("div").classes("columns"):
        with panel(key.name):
            with ui.element("dl").classes("facts"):
                text("dt", "Id")
                with ui.element("dd"):
                    short_id(key.id)
                text("dt", "Owner")
                text("dd", key.owner)
                text("dt", "May")
                text("dd", _may(key))
                text("dt", "Made")
                with ui.element("dd"):
                    moment(key.created)
                text("dt", "Last used")
                with ui.element("dd"):
                    moment(key.last_used, never="never")
                text("dt", "State")
                with ui.element("dd"):
                    _show_state(key)
            if key.revoked is None:
                with dialog(
                    "Revoke …",
                    title=f"Revoke the key {key.name}?",
                    act=revoke,
                    does="Revoke",
                    classes="plain danger",
                ):
                    text(
                        "p",
                        "It is refused at once, and browsers that logged in with it are logged "
                        "out. It cannot be taken back; what was made with the key stays.",
                    )
                problem = problem_line()
        if key.revoked is None:
            with panel("Name and quotas"), form(change, does="Change"):
                field("name", "What it is for", value=key.name, required=True, maxlength=200)
                _quota_fields(key.quotas, visitor.runtime.installation.settings)


def _may(key: ApiKey) -> str:
    return ", ".join(key.scopes)


def _quota_fields(own: Mapping[str, int], settings: Settings) -> None:
    """Fields for the quotas of a key; where they are empty, the settings hold."""
    with ui.element("details") as closed:
        closed.props["open"] = bool(own)
        text("summary", "Quotas of its own")
        text("p", "Where a field is empty, the service's settings hold.", classes="help")
        with ui.element("div").classes("quota-fields"):
            _quota_field(own, "requests_per_minute", "Requests a minute", 1, settings)
            stored = own.get("stored_bytes")
            limit = settings.stored_bytes
            field(
                "stored_bytes",
                "Stored, GB",
                value="" if stored is None else f"{stored / GIGABYTE:g}",
                type="number",
                min=0,
                step="any",
                placeholder="no limit" if limit is None else f"{limit / GIGABYTE:g}",
            )
            _quota_field(own, "queued_jobs", "Jobs in the queue", 0, settings)
            _quota_field(own, "running_jobs", "Jobs that run at once", 1, settings)


def _quota_field(
    own: Mapping[str, int], name: str, label: str, least: int, settings: Settings
) -> None:
    usual = getattr(settings, name)
    field(
        name,
        label,
        value=str(own.get(name, "")),
        type="number",
        min=least,
        step=1,
        placeholder="no limit" if usual is None else str(usual),
    )


def _quotas(values: Mapping[str, str]) -> dict[str, int | None]:
    """What has been entered, as keys have it."""
    numbers: dict[str, int | None] = {}
    for name, unit in (
        ("requests_per_minute", 1),
        ("stored_bytes", GIGABYTE),
        ("queued_jobs", 1),
        ("running_jobs", 1),
    ):
        entered = values[name].strip()
        try:
            numbers[name] = round(float(entered) * unit) if entered else None
        except (ValueError, OverflowError):
            raise BadInputError(f"{entered[:40]!r} is no number") from None
    return numbers


def _quotas_in_words(own: Mapping[str, int]) -> str:
    words = {
        "requests_per_minute": lambda most: f"{count(most, 'request')} a minute",
        "stored_bytes": lambda most: f"{size(most)} stored",
        "queued_jobs": lambda most: f"{count(most, 'job')} queued",
        "running_jobs": lambda most: f"{count(most, 'job')} running",
    }
    return ", ".join(words[name](most) for name, most in own.items())
