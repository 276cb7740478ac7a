"""`/v1/webhooks`: made, told once, seen by their owners alone, and delivered whatever happens."""

import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from mdf.webhooks import verify
from services.access import LOCAL
from services.database.schema import Image, Webhook, WebhookDelivery, now
from services.installation import Installation
from services.settings import Settings
from services.webhooks import catalogue
from tests.waiting import wait_until

HOOK = {"url": "https://hooks.example/x", "name": "to the wiki"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """An operator who lets webhooks call this machine."""
    return settings.model_copy(update={"webhook_networks": "127.0.0.0/8", "max_webhooks": 3})


@pytest.fixture
def until(client: TestClient) -> Callable[..., dict[str, Any]]:
    """What a path shows, once something is so."""

    def wait(path: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            shown: dict[str, Any] = client.get(path).json()
            return shown if condition(shown) else None

        return wait_until(look, told=lambda: client.get(path).json())

    return wait


def test_a_webhook_is_made_and_its_secret_told_once(client) -> None:
    again = {"Idempotency-Key": "a"}
    made = client.post("/v1/webhooks", json=HOOK, headers=again)
    assert made.status_code == 201
    webhook = made.json()
    assert made.headers["location"] == f"/v1/webhooks/{webhook['id']}"
    assert webhook.pop("secret").startswith("whsec_")
    assert webhook["events"] == ["job.succeeded", "job.failed", "job.canceled", "job.expired"]
    assert webhook["enabled"] is True
    assert client.get(made.headers["location"]).json() == webhook
    assert client.get("/v1/webhooks").json() == {"data": [webhook], "next_cursor": None}
    replayed = client.post("/v1/webhooks", json=HOOK, headers=again)
    assert replayed.json() == {**webhook, "secret": None}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"url": "http://10.0.0.1/"}, "/url"),
        ({"url": "https://anna:pass@hooks.example/"}, "/url"),
        ({"url": "javascript:alert(1)"}, "/url"),
        ({"events": []}, "/events"),
        ({"events": ["job.started"]}, "/events/0"),
        ({"name": "a\nb"}, "/name"),
        ({"secret": "mine"}, "/secret"),
    ],
)
def test_what_cannot_be_a_webhook_is_refused(client, assert_problem, change, pointer) -> None:
    refused = assert_problem(client.post("/v1/webhooks", json=HOOK | change), 422, "bad_input")
    assert [each["pointer"] for each in refused["errors"]] == [pointer]
    made = client.post("/v1/webhooks", json=HOOK).json()
    changed = client.patch(f"/v1/webhooks/{made['id']}", json=change)
    assert_problem(changed, 422, "bad_input")


def test_an_owner_may_have_so_many_and_no_more(client, assert_problem) -> None:
    made = [client.post("/v1/webhooks", json=HOOK).json() for _ in range(3)]
    refused = assert_problem(client.post("/v1/webhooks", json=HOOK), 429, "quota_exceeded")
    assert "may have 3" in str(refused["detail"])
    assert client.delete(f"/v1/webhooks/{made[0]['id']}").status_code == 204
    assert client.post("/v1/webhooks", json=HOOK).status_code == 201


def test_a_webhook_is_changed_disabled_and_enabled(client, assert_problem) -> None:
    path = f"/v1/webhooks/{client.post('/v1/webhooks', json=HOOK).json()['id']}"
    events = ["job.failed", "job.succeeded"]
    changed = client.patch(path, json={"url": "http://8.8.8.8/", "name": "", "events": events})
    assert changed.json()["url"] == "http://8.8.8.8/"
    assert changed.json()["events"] == ["job.succeeded", "job.failed"]
    disabled = client.patch(path, json={"enabled": False}).json()
    assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "disabled on request")
    refused = assert_problem(client.post(f"{path}/ping"), 409, "conflict")
    assert "enable it first" in str(refused["detail"])
    enabled = client.patch(path, json={"enabled": True}).json()
    assert (enabled["enabled"], enabled["disabled"]) == (True, None)
    assert client.get(path).json() == enabled


def test_a_new_secret_is_told_once(client) -> None:
    made = client.post("/v1/webhooks", json=HOOK).json()
    rotated = client.post(f"/v1/webhooks/{made['id']}/secret")
    assert rotated.status_code == 200
    assert rotated.json()["secret"] not in (made["secret"], None)
    assert "secret" not in client.get(f"/v1/webhooks/{made['id']}").json()


def test_a_ping_arrives_and_its_delivery_tells(client, receive, until) -> None:
    receiver = receive(200)
    made = client.post("/v1/webhooks", json={"url": receiver.url}).json()
    path = f"/v1/webhooks/{made['id']}"
    sent = client.post(f"{path}/ping")
    assert sent.status_code == 202
    assert (sent.json()["state"], sent.json()["event"]) == ("pending", "webhook.ping")
    shown = until(f"{path}/deliveries/{sent.json()['id']}", lambda it: it["state"] != "pending")
    assert (shown["state"], shown["status"], shown["attempts"], shown["due"]) == (
        *("delivered", 200, 1, None),
    )
    (request,) = receiver.received
    message = verify(made["secret"], request.headers, request.body)
    assert (message.id, message.data) == (shown["id"], {"webhook_id": made["id"]})
    listed = client.get(f"{path}/deliveries").json()["data"]
    assert listed == [{name: value for name, value in shown.items() if name != "content"}]


def test_the_end_of_a_job_is_told_as_rest_shows_it(client, receive, until, job_id) -> None:
    receiver = receive(200)
    made = client.post("/v1/webhooks", json={"url": receiver.url}).json()
    client.post(f"/v1/jobs/{job_id}/cancel")
    (delivery,) = until(
        f"/v1/webhooks/{made['id']}/deliveries",
        lambda it: bool(it["data"]) and it["data"][0]["state"] == "delivered",
    )["data"]
    assert (delivery["event"], delivery["job_id"]) == ("job.canceled", job_id)
    message = verify(made["secret"], receiver.received[0].headers, receiver.received[0].body)
    shown = client.get(f"/v1/jobs/{job_id}").json()
    # A setting of the service, and no part of what happened.
    assert shown.pop("max_attempts") == 5
    assert message.data == shown


def test_a_message_is_sent_again_on_request_under_its_id(client, receive, until) -> None:
    receiver = receive(500)
    made = client.post("/v1/webhooks", json={"url": receiver.url}).json()
    path = f"/v1/webhooks/{made['id']}"
    ping = client.post(f"{path}/ping").json()
    one = f"{path}/deliveries/{ping['id']}"
    assert until(one, lambda it: it["state"] == "failed")["fault"] == "answered 500"
    receiver.answer = receive(204).answer
    again = client.post(f"{one}/redeliver")
    assert again.status_code == 202
    assert (again.json()["state"], again.json()["attempts"]) == ("pending", 0)
    assert until(one, lambda it: it["state"] == "delivered")["fault"] is None
    ids = [request.headers["webhook-id"] for request in receiver.received]
    assert ids == [ping["id"]] * 2


def test_a_message_that_is_being_sent_is_not_sent_a_second_time(
    client, receive, assert_problem
) -> None:
    receiver = receive(lambda _: time.sleep(20))
    made = client.post("/v1/webhooks", json={"url": receiver.url}).json()
    path = f"/v1/webhooks/{made['id']}"
    ping = client.post(f"{path}/ping").json()
    receiver.wait()
    refused = client.post(f"{path}/deliveries/{ping['id']}/redeliver")
    assert_problem(refused, 409, "conflict")


def test_webhooks_are_their_owners_alone(client, make_key, assert_problem) -> None:
    admin, anna, ben = make_key("admin"), make_key("write"), make_key("write", owner="ben")
    reader = make_key("read")
    made = client.post("/v1/webhooks", json=HOOK, headers=anna).json()
    path = f"/v1/webhooks/{made['id']}"
    ping = client.post(f"{path}/ping", headers=anna).json()
    one = f"{path}/deliveries/{ping['id']}"
    asked = [
        *(("GET", path), ("PATCH", path), ("DELETE", path), ("POST", f"{path}/secret")),
        *(("POST", f"{path}/ping"), ("GET", f"{path}/deliveries"), ("GET", one)),
        ("POST", f"{one}/redeliver"),
    ]
    for method, each in asked:
        body = {"json": {"name": "b"}} if method == "PATCH" else {}
        refused = client.request(method, each, headers=ben, **body)
        problem = assert_problem(refused, 404, "not_found")
        assert problem["detail"] == f"no webhook {made['id']}"
        if method != "GET":
            assert_problem(client.request(method, each, headers=reader, **body), 403, "forbidden")
    assert client.get("/v1/webhooks", headers=ben).json()["data"] == []
    assert len(client.get("/v1/webhooks", headers=admin).json()["data"]) == 1
    assert client.get(one, headers=admin).status_code == 200
    unknown = client.get(f"{path}/deliveries/msg_0", headers=anna)
    assert_problem(unknown, 404, "not_found")


@pytest.mark.usefixtures("broker")
def test_an_api_that_is_killed_between_attempts_and_while_sending_loses_no_message(
    installation: Installation, seed_image: Image, receive, serve
) -> None:
    receiver = receive(500)
    with installation.database.write() as session:
        webhook, secret = catalogue.create(
            session, installation.settings, caller=LOCAL, url=receiver.url
        )
    api = serve()
    spec = {"seed_image_ids": [seed_image.id], "task": {"kind": "jpeg"}, "preset": "quick"}
    job = httpx.post(f"{api.url}/v1/jobs", json=spec).json()
    httpx.post(f"{api.url}/v1/jobs/{job['id']}/cancel").raise_for_status()
    receiver.wait(1)

    def read() -> WebhookDelivery:
        with installation.database.read() as session:
            return session.query(WebhookDelivery).one()

    def kill_and_let_time_pass() -> None:
        api.process.send_signal(signal.SIGKILL)
        api.process.wait()
        with installation.database.write() as session:
            assert session.query(WebhookDelivery).one().due > now()
            session.query(WebhookDelivery).one().due = now()

    wait_until(lambda: read().fault)
    kill_and_let_time_pass()  # between attempts
    receiver.answer = lambda _: time.sleep(20)
    api = serve()
    receiver.wait(2)
    kill_and_let_time_pass()  # while sending
    receiver.answer = receive(204).answer
    with TestClient(create_app(installation)):
        wait_until(lambda: read().state != "pending")
    assert (read().state, read().attempts) == ("delivered", 3)
    sent = {verify(secret, each.headers, each.body).id for each in receiver.received}
    assert sent == {read().id}
    with installation.database.read() as session:
        assert session.get_one(Webhook, webhook.id).failing_since is None
