"""Jobs are announced beside the requests: a broker that is away or silent holds up nobody."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from services.embedded.broker import EmbeddedRedis
from services.jobs.dispatch import Dispatcher
from tests.waiting import wait_until


def submit(url: str, image_id: str) -> None:
    """Submit a job; it must be accepted."""
    spec = {"seed_image_ids": [image_id], "task": {"kind": "jpeg"}, "preset": "quick"}
    assert httpx.post(f"{url}/v1/jobs", json=spec, timeout=60).status_code == 202


def test_what_is_submitted_is_announced(live, broker: EmbeddedRedis, seed_image) -> None:
    submit(live.url, seed_image.id)
    dispatcher = Dispatcher(live.server._runtime.installation.settings)
    wait_until(lambda: dispatcher.waiting("train") == 1, told="no message came")
    dispatcher.close()


def test_nobody_waits_for_a_broker_that_is_silent(
    live, seed_image, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    dispatcher = live.server._runtime.dispatcher
    monkeypatch.setattr(dispatcher, "announce", lambda *job: answers.wait(120))
    with ThreadPoolExecutor(8) as clients:  # more than there are threads to answer them
        list(clients.map(lambda _: submit(live.url, seed_image.id), range(60)))
    assert httpx.get(f"{live.url}/v1/jobs?limit=1", timeout=60).status_code == 200
    assert not answers.is_set()
    live.stop()
    answers.set()
