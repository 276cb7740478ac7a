"""`client.webhooks`: addresses that are told when jobs end."""

import time
from collections.abc import Iterator, Sequence
from itertools import count

from mdf.client.pages import iterate, page
from mdf.client.records import Delivery, Page, Webhook, parse
from mdf.client.transport import Transport
from mdf.errors import MDFError


class Webhooks:
    """Make, list, change, try and delete webhooks, and look at what was sent to them.

    What they send is checked with `mdf.webhooks.verify`.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self, url: str, *, name: str | None = None, events: Sequence[str] | None = None
    ) -> Webhook:
        """Have `url` told when jobs end; `Webhook.secret` is told this once only.

        Sent once: a repeat would be answered without the secret.

        Args:
            url: of a receiver that takes POST.
            name: what it is for.
            events: of `job.succeeded`, `job.failed`, `job.canceled` and `job.expired`;
                all, if it is left out.
        """
        content: dict[str, object] = {"url": url}
        if name is not None:
            content["name"] = name
        if events is not None:
            content["events"] = [*events]
        return parse(Webhook, self._transport.act("/v1/webhooks", json=content))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Webhook]:
        """One page of webhooks, newest first."""
        return page(self._transport, Webhook, "/v1/webhooks", limit=limit, cursor=cursor)

    def iterate(self) -> Iterator[Webhook]:
        """All webhooks, newest first, fetched a page at a time."""
        return iterate(self._transport, Webhook, "/v1/webhooks")

    def get(self, webhook_id: str) -> Webhook:
        """One webhook."""
        return parse(Webhook, self._transport.get(f"/v1/webhooks/{webhook_id}"))

    def change(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        name: str | None = None,
        events: Sequence[str] | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Change what is given; one that is not enabled is told nothing."""
        wanted = {
            "url": url,
            "name": name,
            "events": None if events is None else [*events],
            "enabled": enabled,
        }
        content = {field: value for field, value in wanted.items() if value is not None}
        path = f"/v1/webhooks/{webhook_id}"
        return parse(Webhook, self._transport.act(path, method="PATCH", json=content))

    def rotate(self, webhook_id: str) -> Webhook:
        """Make a new secret, told this once only; for a day the old one signs too."""
        return parse(Webhook, self._transport.act(f"/v1/webhooks/{webhook_id}/secret"))

    def delete(self, webhook_id: str) -> None:
        """Forget a webhook, with what was or was to be sent to it."""
        self._transport.act(f"/v1/webhooks/{webhook_id}", method="DELETE")

    def ping(self, webhook_id: str, *, timeout: float = 60.0) -> Delivery:
        """Send a message that says nothing, and wait until it has arrived or failed."""
        delivery = parse(Delivery, self._transport.act(f"/v1/webhooks/{webhook_id}/ping"))
        return self.wait(delivery, timeout=timeout)

    def deliveries(self, webhook_id: str) -> Iterator[Delivery]:
        """What was sent to a webhook or is to be, newest first, fetched a page at a time."""
        return iterate(self._transport, Delivery, f"/v1/webhooks/{webhook_id}/deliveries")

    def delivery(self, webhook_id: str, delivery_id: str) -> Delivery:
        """One delivery; `Delivery.content` is what the message says."""
        path = f"/v1/webhooks/{webhook_id}/deliveries/{delivery_id}"
        return parse(Delivery, self._transport.get(path))

    def redeliver(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Send a message again, now and under the same id, whatever became of it before."""
        path = f"/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"
        return parse(Delivery, self._transport.act(path))

    def wait(self, delivery: Delivery, *, timeout: float = 60.0) -> Delivery:
        """The delivery once an attempt to make it has ended.

        Raises: MDFError if that takes longer than `timeout` seconds.
        """
        end = time.monotonic() + timeout
        for look in count():
            seen = self.delivery(delivery.webhook_id, delivery.id)
            if seen.state != "pending" or seen.fault is not None:
                return seen
            if time.monotonic() >= end:
                break
            time.sleep(min(0.1 * 1.5**look, 2.0))
        raise MDFError(
            f"message {delivery.id} was not sent within {timeout:g} s: is the server busy?"
        )
