"""`mdf webhooks`: addresses that are told when jobs end."""

from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from mdf.client import Delivery, Webhook
from mdf.commands.connection import ApiKey, AsJson, Limit, Url, connect
from mdf.commands.terminal import (
    age,
    moment,
    note,
    out,
    print_fields,
    print_json,
    print_table,
)

app = typer.Typer(help="Have other services told when jobs end.", no_args_is_help=True)

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="A webhook's id.")]
Events = Annotated[
    list[str] | None,
    typer.Option(
        "--event",
        metavar="job.succeeded|job.failed|job.canceled|job.expired",
        help="What it is told; may be repeated.",
        show_default="all",
    ),
]
Name = Annotated[str | None, typer.Option("--name", help="What it is for.")]

_STATE_STYLES = {"pending": "cyan", "delivered": "green", "failed": "red"}


@app.command()
def create(
    receiver: Annotated[str, typer.Argument(metavar="RECEIVER", help="http(s) URL to send to.")],
    *,
    name: Name = None,
    events: Events = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Make a webhook and print its secret, which is not shown again."""
    with connect(url, api_key) as client:
        webhook = client.webhooks.create(receiver, name=name, events=events)
    _print_secret(webhook, as_json=as_json)


@app.command("ls")
def list_webhooks(
    limit: Limit = 20, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """List webhooks, newest first."""
    with connect(url, api_key) as client:
        webhooks = list(islice(client.webhooks.iterate(), limit))
    if as_json:
        print_json(webhooks)
        return
    print_table(
        ("WEBHOOK", "STATE", "NAME", "URL", "AGE"),
        [(each.id, _state(each), each.name, each.url, age(each.created)) for each in webhooks],
    )


@app.command()
def show(
    webhook_id: WebhookId, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """Show all about one webhook."""
    with connect(url, api_key) as client:
        webhook = client.webhooks.get(webhook_id)
    _print(webhook, as_json=as_json)


@app.command("set")
def change(
    webhook_id: WebhookId,
    *,
    receiver: Annotated[
        str | None, typer.Option("--receiver", metavar="URL", help="Where to send to.")
    ] = None,
    name: Name = None,
    events: Events = None,
    enabled: Annotated[
        bool | None,
        typer.Option(
            "--enable/--disable", help="Whether it is told anything.", show_default="as it is"
        ),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Change a webhook, disable it, or enable it again."""
    with connect(url, api_key) as client:
        webhook = client.webhooks.change(
            webhook_id, url=receiver, name=name, events=events, enabled=enabled
        )
    _print(webhook, as_json=as_json)


@app.command()
def rotate(
    webhook_id: WebhookId, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """Make a new secret and print it. For a day, messages are signed with the old one too."""
    with connect(url, api_key) as client:
        webhook = client.webhooks.rotate(webhook_id)
    _print_secret(webhook, as_json=as_json)


@app.command("rm")
def remove(
    webhook_ids: Annotated[list[str], typer.Argument(metavar="WEBHOOK...", help="Their ids.")],
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Remove webhooks, with what was or was to be sent to them."""
    with connect(url, api_key) as client:
        for webhook_id in webhook_ids:
            client.webhooks.delete(webhook_id)
            note(f"removed {webhook_id}")
    if as_json:
        print_json({"removed": webhook_ids})


@app.command()
def ping(
    webhook_id: WebhookId, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """Send a message that says nothing, and tell whether it arrived."""
    with connect(url, api_key) as client:
        _tell(client.webhooks.ping(webhook_id), as_json=as_json)


@app.command()
def deliveries(
    webhook_id: WebhookId,
    limit: Limit = 20,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """List what was sent to a webhook or is to be, newest first."""
    with connect(url, api_key) as client:
        found = list(islice(client.webhooks.deliveries(webhook_id), limit))
    if as_json:
        print_json(found)
        return
    print_table(
        ("MESSAGE", "STATE", "EVENT", "JOB", "ATTEMPTS", "AGE", "FAULT"),
        [
            (
                each.id,
                Text(each.state, style=_STATE_STYLES.get(each.state, "")),
                each.event,
                each.job_id or "",
                str(each.attempts),
                age(each.created),
                each.fault or "",
            )
            for each in found
        ],
    )


@app.command()
def redeliver(
    webhook_id: WebhookId,
    delivery_id: Annotated[str, typer.Argument(metavar="MESSAGE", help="A message's id.")],
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Send a message again, under the same id, and tell whether it arrived."""
    with connect(url, api_key) as client:
        delivery = client.webhooks.redeliver(webhook_id, delivery_id)
        _tell(client.webhooks.wait(delivery), as_json=as_json)


def _print(webhook: Webhook, *, as_json: bool) -> None:
    if as_json:
        print_json(webhook)
        return
    print_fields(
        {
            "webhook": webhook.id,
            "name": webhook.name or None,
            "url": webhook.url,
            "events": ", ".join(webhook.events),
            "state": _state(webhook),
            "reason": webhook.disabled_reason,
            "failing since": moment(webhook.failing_since),
            "created": moment(webhook.created),
        }
    )


def _print_secret(webhook: Webhook, *, as_json: bool) -> None:
    if as_json:
        print_json(webhook)
        return
    out.print(webhook.secret, markup=False, soft_wrap=True)
    note(f"{webhook.id}: {', '.join(webhook.events)}, to {webhook.url}")
    note("Keep the secret: it is not shown again. The receiver needs it to check messages.")


def _tell(delivery: Delivery, *, as_json: bool) -> None:
    """The outcome of an attempt; exit code 1 if the message has not arrived."""
    if as_json:
        print_json(delivery)
    elif delivery.fault is None:
        out.print(f"{delivery.id} has arrived: {delivery.status}", markup=False, soft_wrap=True)
    else:
        note(f"{delivery.id} has not arrived: {delivery.fault}")
    if delivery.fault is not None:
        raise typer.Exit(1)


def _state(webhook: Webhook) -> Text:
    if not webhook.enabled:
        return Text("disabled", style="red")
    return Text("failing", style="yellow") if webhook.failing_since else Text("enabled")
