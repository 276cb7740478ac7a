"""What docs/webhooks.md says is so."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from base64 import b64encode
from ipaddress import ip_network
from pathlib import Path

from mdf.webhooks import sign
from services.webhooks.courier import FAILING, WAITS
from services.webhooks.outbox import EVENTS, PING
from services.webhooks.reach import Reach
from services.webhooks.sending import SECONDS, Sender
from tests.waiting import wait_until

GUIDE = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()


def test_the_events_are_those_that_there_are() -> None:
    assert re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", GUIDE, re.M) == [*EVENTS, PING]


def test_the_times_are_those_of_the_courier() -> None:
    words = " ".join(GUIDE.split())
    assert "10 s, 1 min, 5 min and 30 min, and 2, 5, 8, 12, 20 and 24 hours" in words
    assert [wait.total_seconds() for wait in WAITS] == [
        *(10, 60, 300, 1800),
        *(hours * 3600 for hours in (2, 5, 8, 12, 20, 24)),
    ]
    assert "After the eleventh attempt" in words
    assert len(WAITS) + 1 == 11
    assert f"for {FAILING.days} days is disabled" in words
    assert f"within {SECONDS:g} seconds" in words


def test_the_receiver_of_the_guide_takes_messages_and_refuses_others() -> None:
    (program,) = re.findall(r"```python\n(import os.*?)```", GUIDE, re.S)
    secret = "whsec_" + b64encode(bytes(range(32))).decode()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    receiver = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "SECRET": secret, "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    body = (
        b'{"type":"job.succeeded","timestamp":"2026-01-02T03:04:05Z",'
        b'"data":{"id":"job_1","loss_id":"loss_1"}}'
    )
    sent = int(time.time())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(sent),
        "webhook-signature": sign(secret, "msg_1", sent, body),
    }
    sender = Sender(Reach([ip_network("127.0.0.0/8")]), seconds=60)

    def send(**changes: str) -> int | None:
        message = sender.send(f"http://127.0.0.1:{port}/mdf", headers | changes, body)
        return asyncio.run(message).status

    try:
        assert wait_until(send) == 204
        assert send(**{"webhook-id": "msg_2"}) == 400
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "job_1 loss_1\n"
    finally:
        receiver.kill()
        receiver.communicate()
