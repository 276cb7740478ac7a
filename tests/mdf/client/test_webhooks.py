"""`client.webhooks` against the service, and a receiver that checks what it gets."""

from collections.abc import Iterator

import pytest

from mdf.client import Client, Webhook
from mdf.errors import ApiError, MDFError
from mdf.webhooks import verify


@pytest.fixture
def client(service) -> Iterator[Client]:
    with Client(service.url) as connected:
        yield connected
        for webhook in list(connected.webhooks.iterate()):
            connected.webhooks.delete(webhook.id)


def test_a_webhook_goes_its_way_from_made_to_gone(client: Client) -> None:
    made = client.webhooks.create("https://hooks.example/", name="n", events=["job.failed"])
    assert str(made.secret).startswith("whsec_")
    shown = client.webhooks.get(made.id)
    assert shown == Webhook(**{**vars(made), "secret": None})
    assert client.webhooks.list().data == (shown,)
    changed = client.webhooks.change(made.id, events=["job.expired"], enabled=False)
    assert (changed.events, changed.enabled) == (("job.expired",), False)
    assert changed.url == "https://hooks.example/"
    assert client.webhooks.rotate(made.id).secret != made.secret
    client.webhooks.delete(made.id)
    with pytest.raises(ApiError, match=f"no webhook {made.id}"):
        client.webhooks.get(made.id)


def test_a_ping_tells_whether_it_arrived(client: Client, receive) -> None:
    receiver = receive(204)
    made = client.webhooks.create(receiver.url)
    arrived = client.webhooks.ping(made.id)
    assert (arrived.state, arrived.status, arrived.fault) == ("delivered", 204, None)
    (request,) = receiver.received
    message = verify(str(made.secret), request.headers, request.body)
    assert arrived.content is not None
    assert (message.id, message.type) == (arrived.id, "webhook.ping")
    receiver.answer = receive(500).answer
    failed = client.webhooks.ping(made.id)
    assert (failed.state, failed.status, failed.fault) == ("failed", 500, "answered 500")
    assert [each.id for each in client.webhooks.deliveries(made.id)] == [failed.id, arrived.id]
    receiver.answer = receive(204).answer
    again = client.webhooks.wait(client.webhooks.redeliver(made.id, failed.id))
    assert (again.id, again.state) == (failed.id, "delivered")


def test_waiting_ends_after_its_time(client: Client, receive) -> None:
    made = client.webhooks.create(receive(lambda handler: handler.rfile.read(1)).url)
    with pytest.raises(MDFError, match=r"was not sent within 0.2 s"):
        client.webhooks.ping(made.id, timeout=0.2)
