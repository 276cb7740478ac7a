"""Webhooks: addresses that are told when jobs end, and what became of what was sent."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import get_args

from nicegui import ui
from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.schemas import WebhookIn
from api.studio.elements.deletion import deletion
from api.studio.elements.dialogs import dialog
from api.studio.elements.forms import field, form, ticks
from api.studio.elements.ids import copy_button, short_id
from api.studio.elements.tables import Table
from api.studio.elements.times import moment
from api.studio.frame import button, empty, link, panel, problem_line, telling, text
from api.studio.visitor import Visitor
from services.access import Caller
from services.database.schema import Webhook, WebhookDelivery
from services.errors import BadInputError
from services.listing import Page
from services.settings import Settings
from services.webhooks import catalogue
from services.webhooks.outbox import Event

_ASK_EVERY = 1.0  # seconds
_LISTED = 25
_EVENTS = {event: f"{event}: a job has {event.partition('.')[2]}" for event in get_args(Event)}
_EVENTS |= {"job.canceled": "job.canceled: a job was canceled"}


async def show(visitor: Visitor, of: str | None, cursor: str | None) -> None:
    """The webhooks of all owners, or one of them closely."""
    if of is not None:
        await _show_one(visitor, of, cursor)
        return
    _offer_new(visitor)
    found = await visitor.read(
        lambda session, caller: catalogue.list_webhooks(session, caller, cursor=cursor)
    )
    with panel("Webhooks"):
        if not found.items:
            empty(
                "Nobody is told yet when jobs end. Name an address above; it gets a signed message."
            )
            return
        listed = Table("Webhooks", ("Name", "Address", "Owner", "State", "Made", "Id"))
        for hook in found.items:
            listed.row(
                partial(link, hook.name or "without a name", f"/admin?view=webhooks&of={hook.id}"),
                hook.url,
                hook.owner,
                partial(_show_state, hook),
                partial(moment, hook.created),
                partial(short_id, hook.id),
            )
        if found.next_cursor:
            link("Older webhooks", f"/admin?view=webhooks&cursor={found.next_cursor}")


def _offer_new(visitor: Visitor) -> None:
    async def make(values: Mapping[str, str]) -> None:
        settings = visitor.runtime.installation.settings
        hook, secret = await visitor.write(
            partial(_create, settings=settings, wanted=_checked(values))
        )
        made.clear()
        with made:
            _show_secret(secret)
            link("Send it a test message", f"/admin?view=webhooks&of={hook.id}")

    with panel("New webhook"):
        with form(make, does="Make the webhook"):
            field(
                "url",
                "Address",
                type="url",
                required=True,
                maxlength=2000,
                placeholder="https://ci.example/mdf",
                help="Is sent a POST whenever a job of yours ends.",
            )
            field("name", "What it is for", maxlength=200, placeholder="continuous integration")
            ticks("It is told of", _EVENTS, ticked=frozenset(_EVENTS))
        made = ui.element("div").props("role=status")


def _checked(values: Mapping[str, str]) -> WebhookIn:
    try:
        return WebhookIn.model_validate(
            {
                "url": values["url"],
                "name": values["name"],
                "events": [event for event in _EVENTS if event in values],
            }
        )
    except ValidationError as error:
        fault = error.errors()[0]
        raise BadInputError(f"{fault['loc'][0]}: {fault['msg']}") from None


def _create(
    session: Session, caller: Caller, *, settings: Settings, wanted: WebhookIn
) -> tuple[Webhook, str]:
    return catalogue.create(
        session,
        settings,
        caller=caller,
        url=wanted.url,
        name=wanted.name,
        events=wanted.events,
    )


def _show_secret(secret: str) -> None:
    with ui.element("div").classes("secret"):
        text("h3", "The secret that signs its messages")
        text("p", "It is shown this once. The receiver checks messages with it.")
        with ui.element("div").classes("row"):
            text("code", secret, classes="token")
            copy_button(secret, of="the secret")


def _show_state(hook: Webhook) -> None:
    if hook.disabled is not None:
        text("span", f"disabled: {hook.disabled_reason}", classes="state failed")
    elif hook.failing_since is not None:
        with text("span", "nothing has arrived since ", classes="state paused"):
            moment(hook.failing_since)
    else:
        text("span", "enabled", classes="state succeeded")


async def _show_one(visitor: Visitor, hook_id: str, cursor: str | None) -> None:
    hook = await visitor.read(lambda session, caller: catalogue.get(session, hook_id, caller))
    link("All webhooks", "/admin?view=webhooks")
    with ui.element("div").classes("columns"):
        with panel(hook.name or "Webhook"):
            _show_facts(hook)
            _offer_actions(visitor, hook)
        _offer_change(visitor, hook)
    await _show_deliveries(visitor, hook, cursor)


def _show_facts(hook: Webhook) -> None:
    with ui.element("dl").classes("facts"):
        text("dt", "Id")
        with ui.element("dd"):
            short_id(hook.id)
        text("dt", "Address")
        text("dd", hook.url)
        text("dt", "Owner")
        text("dd", hook.owner)
        text("dt", "Is told of")
        text("dd", ", ".join(hook.events))
        text("dt", "State")
        with ui.element("dd"):
            _show_state(hook)
        text("dt", "Made")
        with ui.element("dd"):
            moment(hook.created)


def _offer_actions(visitor: Visitor, hook: Webhook) -> None:
    async def ping() -> None:
        with telling(problem):
            await visitor.write(lambda session, caller: catalogue.ping(session, hook.id, caller))

    async def rotate(_: Mapping[str, str]) -> None:
        with telling(problem):
            rotated = await visitor.write(
                lambda session, caller: catalogue.rotate(session, hook.id, caller)
            )
            made.clear()
            with made:
                _show_secret(rotated[1])

    async def delete() -> None:
        await visitor.write(lambda session, caller: catalogue.delete(session, hook.id, caller))
        ui.navigate.to("/admin?view=webhooks")

    with ui.element("div").classes("row"):
        if hook.disabled is None:
            button("Send a test message", ping, classes="button")
        with dialog("New secret …", title="Make a new secret?", act=rotate, does="Make it"):
            text(
                "p",
                "For a day messages are signed with the old one too: change the receiver's within "
                "that day.",
            )
        deletion(
            f"the webhook {hook.name}".strip(),
            consequence="What was sent to it is forgotten, and what was to be sent is not.",
            act=delete,
        )
    problem = problem_line()
    made = ui.element("div").props("role=status")


def _offer_change(visitor: Visitor, hook: Webhook) -> None:
    async def change(values: Mapping[str, str]) -> None:
        wanted = _checked(values)
        await visitor.write(
            lambda session, caller: catalogue.change(
                session,
                visitor.runtime.installation.settings,
                hook.id,
                caller,
                url=wanted.url,
                name=wanted.name,
                events=wanted.events,
                enabled="enabled" in values,
            )
        )
        ui.navigate.to(f"/admin?view=webhooks&of={hook.id}")

    with panel("Change it"), form(change, does="Change"):
        field("url", "Address", type="url", value=hook.url, required=True, maxlength=2000)
        field("name", "What it is for", value=hook.name, maxlength=200)
        ticks("It is told of", _EVENTS, ticked=frozenset(hook.events))
        is_enabled = frozenset() if hook.disabled else frozenset({"enabled"})
        ticks("State", {"enabled": "enabled: one that is not is told nothing"}, ticked=is_enabled)


async def _show_deliveries(visitor: Visitor, hook: Webhook, cursor: str | None) -> None:
    def ask(session: Session, caller: Caller) -> Page[WebhookDelivery]:
        return catalogue.deliveries(session, hook.id, caller, limit=_LISTED, cursor=cursor)

    async def send_again(message_id: str) -> None:
        with telling(problem):
            await visitor.write(
                lambda session, caller: catalogue.redeliver(session, hook.id, message_id, caller)
            )
            await refresh()

    with panel("Deliveries"):
        none = text("p", "Nothing has been sent yet.", classes="quiet")
        columns = ("Event", "Job", "State", "Attempts", "Last answer", "Made", "Next attempt", "")
        listed = Table("Deliveries, newest first", columns, numbers=("Attempts",))
        problem = problem_line()
        older = ui.element("div")
    drawn: list[tuple[object, ...]] = []

    async def refresh() -> None:
        found = await visitor.read(ask)
        news = [(each.id, each.state, each.attempts, each.status) for each in found.items]
        if news == drawn:
            return
        drawn[:] = news
        none.set_visibility(not found.items)
        listed.clear()
        for message in found.items:
            _add(listed, message, partial(send_again, message.id))
        older.clear()
        if found.next_cursor:
            with older:
                further = f"/admin?view=webhooks&of={hook.id}&cursor={found.next_cursor}"
                link("Older deliveries", further)

    await refresh()
    ui.timer(_ASK_EVERY, refresh, immediate=False)


def _add(listed: Table, message: WebhookDelivery, send_again: Callable[[], object]) -> None:
    is_ping = not message.event.startswith("job.")
    job_id = None if is_ping else message.content["data"]["id"]
    looks = {"delivered": "succeeded", "failed": "failed"}.get(message.state, "")

    def offer() -> None:
        if message.state != "pending":
            again = button("Send again", send_again, classes="plain small")
            again.props["aria-label"] = f"Send {message.event} again"

    listed.row(
        message.event,
        "—" if job_id is None else partial(link, f"…{job_id[-8:]}", f"/runs/{job_id}"),
        partial(text, "span", message.state, classes=f"state {looks}"),
        str(message.attempts),
        _answer(message),
        partial(moment, message.created),
        partial(moment, message.due if message.state == "pending" else None),
        offer,
    )


def _answer(message: WebhookDelivery) -> str:
    if message.fault is not None:
        return message.fault
    return "—" if message.status is None else f"HTTP {message.status}"
