"""Jobs are announced beside the requests: a broker that is away or silent holds up nobody."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil

from services.embedded.broker import EmbeddedRedis
from services.jobs.dispatch import Dispatcher


def submit(url: str, image_id: str) -> float:
    """Submit a job; gives the seconds until it was accepted."""
    began = time.monotonic()
    spec = {"seed_image_ids": [image_id], "task": {"kind": "jpeg"}, "preset": "quick"}
    assert httpx.post(f"{url}/v1/jobs", json=spec, timeout=20).status_code == 202
    return time.monotonic() - began


def test_what_is_submitted_is_announced(live, broker: EmbeddedRedis, seed_image) -> None:
    submit(live.url, seed_image.id)
    dispatcher = Dispatcher(live.server._runtime.installation.settings)
    end = time.monotonic() + 5
    while dispatcher.waiting("train") != 1:
        assert time.monotonic() < end, "no message came"
        time.sleep(0.02)
    dispatcher.close()


def test_nobody_waits_for_a_broker_that_is_silent(live, broker: EmbeddedRedis, seed_image) -> None:
    redis = psutil.Process(broker.pid)
    redis.suspend()
    try:
        with ThreadPoolExecutor(8) as clients:
            took = list(clients.map(lambda _: submit(live.url, seed_image.id), range(60)))
        began = time.monotonic()
        assert httpx.get(f"{live.url}/v1/jobs?limit=1").status_code == 200
        assert time.monotonic() - began < 2
        assert max(took) < 4  # sixty times five seconds would it be to wait for the broker
        assert live.stop() < 3
    finally:
        redis.resume()
