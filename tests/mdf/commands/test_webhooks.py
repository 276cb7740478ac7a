"""`mdf webhooks` against the service."""

import json
from collections.abc import Iterator

import pytest

from mdf.webhooks import verify


@pytest.fixture
def made(mdf_json, receive) -> Iterator[dict]:
    """A webhook whose receiver takes everything."""
    receiver = receive(204)
    webhook = mdf_json("webhooks", "create", receiver.url, "--name", "wiki")
    yield webhook | {"receiver": receiver}
    mdf_json("webhooks", "rm", webhook["id"])


def test_the_secret_is_printed_alone(mdf_command, mdf_json) -> None:
    result = mdf_command("webhooks", "create", "https://hooks.example/", "--event", "job.failed")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("whsec_")
    assert len(result.stdout.splitlines()) == 1
    assert "job.failed, to https://hooks.example/" in result.stderr
    (listed,) = mdf_json("webhooks", "ls")
    assert (listed["events"], listed["secret"]) == (["job.failed"], None)
    assert mdf_command("webhooks", "rotate", listed["id"]).stdout.startswith("whsec_")
    mdf_json("webhooks", "rm", listed["id"])
    assert mdf_json("webhooks", "ls") == []


def test_a_webhook_is_shown_and_changed(mdf_command, mdf_json, made) -> None:
    shown = mdf_command("webhooks", "show", made["id"]).stdout
    assert "wiki" in shown
    assert made["url"] in shown
    changed = mdf_json("webhooks", "set", made["id"], "--disable", "--name", "old")
    assert (changed["enabled"], changed["name"]) == (False, "old")
    assert "disabled on request" in mdf_command("webhooks", "show", made["id"]).stdout
    refused = mdf_command("webhooks", "ping", made["id"])
    assert refused.exit_code == 1
    assert "enable it first" in refused.stderr
    assert mdf_json("webhooks", "set", made["id"], "--enable")["enabled"] is True


def test_a_ping_exits_0_only_if_it_arrived(mdf_command, mdf_json, made, receive) -> None:
    arrived = mdf_command("webhooks", "ping", made["id"])
    assert arrived.exit_code == 0, arrived.output
    assert "has arrived: 204" in arrived.stdout
    (request,) = made["receiver"].received
    assert verify(made["secret"], request.headers, request.body).type == "webhook.ping"
    made["receiver"].answer = receive(503).answer
    failed = mdf_command("webhooks", "ping", made["id"], "--json")
    assert failed.exit_code == 1
    message = json.loads(failed.stdout)
    assert message["fault"] == "answered 503"
    listed = mdf_command("webhooks", "deliveries", made["id"]).stdout
    assert listed.index("failed") < listed.index("delivered")
    made["receiver"].answer = receive(204).answer
    again = mdf_json("webhooks", "redeliver", made["id"], message["id"])
    assert again["state"] == "delivered"


def test_a_receiver_that_may_not_be_called_is_refused(mdf_command) -> None:
    refused = mdf_command("webhooks", "create", "http://169.254.169.254/latest/meta-data")
    assert refused.exit_code == 1
    assert "leads into a network that may not be called" in refused.stderr
