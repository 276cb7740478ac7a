"""`/v1/webhooks`: addresses that are told when jobs end, and what was sent to them."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from sqlalchemy.orm import Session

from api.access import Reader, Writer
from api.bodies import StrictRoute
from api.creation import Created, Creating
from api.errors import documented
from api.paging import Cursor, Limit, PageOut, link_next
from api.runtime import Installed
from api.schemas import (
    DeliveryOut,
    MessageOut,
    NewWebhookOut,
    WebhookChange,
    WebhookIn,
    WebhookOut,
)
from services.database.schema import Webhook
from services.webhooks import catalogue

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=StrictRoute)

WebhookId = Annotated[str, Path(description="`hook_…`", max_length=64)]
DeliveryId = Annotated[str, Path(description="`msg_…`", max_length=64)]


@router.post(
    "",
    status_code=201,
    response_model=NewWebhookOut,
    operation_id="create_webhook",
    responses=documented(409, 507),
)
def create_webhook(
    caller: Writer, creation: Creating, installed: Installed, wanted: WebhookIn
) -> Response:
    """Have an address told when jobs of yours end. The secret that signs is told once."""

    def create(session: Session) -> Created:
        webhook, secret = catalogue.create(
            session,
            installed.settings,
            caller=caller,
            url=wanted.url,
            name=wanted.name,
            events=wanted.events,
        )
        return Created(
            status=201,
            body=_with_secret(webhook, secret),
            location=f"/v1/webhooks/{webhook.id}",
            told_once=frozenset({"secret"}),
        )

    return creation.commit(create)


@router.get("", operation_id="list_webhooks")
def list_webhooks(
    *,
    request: Request,
    response: Response,
    caller: Reader,
    installed: Installed,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageOut[WebhookOut]:
    """The caller's webhooks, newest first."""
    with installed.database.read() as session:
        page = catalogue.list_webhooks(session, caller, limit=limit, cursor=cursor)
        link_next(request, response, cursor=page.next_cursor)
        data = [WebhookOut.of(webhook) for webhook in page.items]
        return PageOut(data=data, next_cursor=page.next_cursor)


@router.get("/{webhook_id}", operation_id="get_webhook", responses=documented(404))
def get_webhook(webhook_id: WebhookId, caller: Reader, installed: Installed) -> WebhookOut:
    """One webhook."""
    with installed.database.read() as session:
        return WebhookOut.of(catalogue.get(session, webhook_id, caller))


@router.patch(
    "/{webhook_id}",
    operation_id="change_webhook",
    responses=documented(404),
)
def change_webhook(
    webhook_id: WebhookId, caller: Writer, installed: Installed, change: WebhookChange
) -> WebhookOut:
    """Change a webhook, disable it, or enable it again."""
    with installed.database.write() as session:
        webhook = catalogue.change(
            session,
            installed.settings,
            webhook_id,
            caller,
            url=change.url,
            name=change.name,
            events=change.events,
            enabled=change.enabled,
        )
        return WebhookOut.of(webhook)


@router.delete(
    "/{webhook_id}",
    status_code=204,
    operation_id="delete_webhook",
    responses=documented(404),
)
def delete_webhook(webhook_id: WebhookId, caller: Writer, installed: Installed) -> None:
    """Forget a webhook, with what was or was to be sent to it."""
    with installed.database.write() as session:
        catalogue.delete(session, webhook_id, caller)


@router.post(
    "/{webhook_id}/secret",
    operation_id="rotate_webhook_secret",
    responses=documented(404),
)
def rotate_secret(webhook_id: WebhookId, caller: Writer, installed: Installed) -> NewWebhookOut:
    """Make a new secret. For a day, messages are signed with the one before it too."""
    with installed.database.write() as session:
        webhook, secret = catalogue.rotate(session, webhook_id, caller)
        return _with_secret(webhook, secret)


@router.post(
    "/{webhook_id}/ping",
    status_code=202,
    operation_id="ping_webhook",
    responses=documented(404, 409),
)
def ping_webhook(webhook_id: WebhookId, caller: Writer, installed: Installed) -> DeliveryOut:
    """Send a message of the type `webhook.ping`, once; its delivery tells whether it arrived."""
    with installed.database.write() as session:
        return DeliveryOut.of(catalogue.ping(session, webhook_id, caller))


@router.get(
    "/{webhook_id}/deliveries",
    operation_id="list_webhook_deliveries",
    responses=documented(404),
)
def list_deliveries(
    *,
    request: Request,
    response: Response,
    webhook_id: WebhookId,
    caller: Reader,
    installed: Installed,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageOut[DeliveryOut]:
    """What was sent to a webhook or is to be, newest first."""
    with installed.database.read() as session:
        page = catalogue.deliveries(session, webhook_id, caller, limit=limit, cursor=cursor)
        link_next(request, response, cursor=page.next_cursor)
        data = [DeliveryOut.of(delivery) for delivery in page.items]
        return PageOut(data=data, next_cursor=page.next_cursor)


@router.get(
    "/{webhook_id}/deliveries/{delivery_id}",
    operation_id="get_webhook_delivery",
    responses=documented(404),
)
def get_delivery(
    webhook_id: WebhookId, delivery_id: DeliveryId, caller: Reader, installed: Installed
) -> MessageOut:
    """One delivery, with what the message says."""
    with installed.database.read() as session:
        return MessageOut.of(catalogue.delivery(session, webhook_id, delivery_id, caller))


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    operation_id="redeliver_webhook_message",
    responses=documented(404, 409),
)
def redeliver(
    webhook_id: WebhookId, delivery_id: DeliveryId, caller: Writer, installed: Installed
) -> DeliveryOut:
    """Send a message again, now and under the same id, whatever became of it before."""
    with installed.database.write() as session:
        return DeliveryOut.of(catalogue.redeliver(session, webhook_id, delivery_id, caller))


def _with_secret(webhook: Webhook, secret: str) -> NewWebhookOut:
    return NewWebhookOut(**WebhookOut.of(webhook).model_dump(), secret=secret)
