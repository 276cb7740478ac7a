"""Messages reach the broker, and a broker that is away holds nobody up."""

import json
import socket
import subprocess
import time
from contextlib import suppress

import pytest
import redis
from pydantic import SecretStr

from services.embedded.broker import find_server
from services.jobs.dispatch import Dispatcher
from services.jobs.queues import QUEUES
from services.settings import Settings
from tests.conftest import patient_dispatcher
from tests.waiting import wait_until

TYPE = "discriminator_training"


def settings_for(url: str) -> Settings:
    return Settings(redis_url=SecretStr(url))


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def connections(server: socket.socket) -> int:
    """How many have been made, and not been accepted."""
    server.setblocking(False)
    count = 0
    with suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            count += 1
    return count


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_message_carries_the_id_and_nothing_else(port):
    url = f"redis://:a%20secret@127.0.0.1:{port}/3"
    server = subprocess.Popen(
        [find_server(), "--port", str(port), "--requirepass", "a secret", "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    try:
        client = redis.Redis.from_url(url)
        wait_until(lambda: answers(client))
        dispatcher = patient_dispatcher(settings_for(url))
        assert dispatcher.ready()
        assert dispatcher.announce("job_1", TYPE)
        assert dispatcher.waiting(QUEUES[TYPE]) == 1
        message = json.loads(client.lindex("train", 0))
        assert message["headers"]["argsrepr"] == "['job_1']"
        assert not Dispatcher(settings_for(url.replace("secret", "guess"))).announce("job_2", TYPE)
    finally:
        server.terminate()
        server.wait()
    began = time.monotonic()
    assert not dispatcher.announce("job_3", TYPE)
    assert not dispatcher.ready()
    assert dispatcher.waiting(QUEUES[TYPE]) is None
    assert time.monotonic() - began < 30


def test_a_broker_that_takes_connections_and_never_answers_is_given_up(port):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", port))
        silent.listen()
        dispatcher = Dispatcher(settings_for(f"redis://127.0.0.1:{port}/0"))
        assert not dispatcher.announce("job_1", TYPE)
        assert connections(silent) == 1  # it was not tried again


def test_encryption_checks_certificates_unless_told_otherwise():
    checked = Dispatcher(settings_for("rediss://:pw@redis.example:6380/0"))
    with checked._app.connection_for_write() as connection:
        assert connection.ssl["ssl_cert_reqs"].name == "CERT_REQUIRED"
    unchecked = Dispatcher(settings_for("rediss://:pw@redis.example:6380/0?ssl_cert_reqs=none"))
    with unchecked._app.connection_for_write() as connection:
        assert connection.ssl["ssl_cert_reqs"].name == "CERT_NONE"
