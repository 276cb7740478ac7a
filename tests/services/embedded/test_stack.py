"""The embedded stack comes up, mends itself, and goes down without a trace."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest

from services.embedded.stack import Stack, StackError
from services.settings import Settings

SERVE = """
from services.embedded.stack import Stack
from services.settings import load_settings
with Stack(load_settings()) as stack:
    print("up", flush=True)
    stack.wait()
"""


@pytest.fixture
def settings(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Settings(home=tmp_path / "my home", port=port, disk_floor_bytes=0)


def get(settings, path):
    url = f"http://127.0.0.1:{settings.port}{path}"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def healthy(settings) -> bool:
    try:
        get(settings, "/healthz")
    except OSError:
        return False
    return True


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def family(pid) -> dict[str, psutil.Process]:
    """The stack's children by what they run."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:  # it has just ended
            continue
        for name in ("redis-server", "workers", "api"):
            if name in line:
                found[name] = process
    return found


def workers(settings):
    return get(settings, "/v1/workers")["data"]


def test_comes_up_mends_itself_and_stops(settings):
    told = []
    began = time.monotonic()
    with Stack(settings, tell=told.append) as stack:
        assert healthy(settings)
        assert time.monotonic() - began < 30
        until(lambda: len(workers(settings)) == 1)

        with pytest.raises(StackError, match="runs already"):
            Stack(settings).start()

        for name in ("redis-server", "workers", "api"):
            victim = family(os.getpid())[name]
            victim.kill()
            until(lambda name=name, old=victim: family(os.getpid()).get(name, old).pid != old.pid)
        until(lambda: healthy(settings))
        until(lambda: len(workers(settings)) >= 1)
        children = list(family(os.getpid()).values())
        assert len(children) == 3
    assert len(told) == 3
    assert not [child for child in children if child.is_running()]
    assert not healthy(settings)
    assert stack.url == f"http://127.0.0.1:{settings.port}"


def serve(settings):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        env={**os.environ, **settings.environment()},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "up\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_in_order(settings, number):
    process = serve(settings)
    children = family(process.pid)
    time.sleep(0.3)  # it waits for signals by now
    process.send_signal(number)
    assert process.wait(30) == 0
    assert not [child for child in children.values() if child.is_running()]


def test_killed_it_takes_its_children_along_and_can_start_again_at_once(settings):
    process = serve(settings)
    until(lambda: len(family(process.pid)) == 3)
    children = family(process.pid)
    process.kill()
    process.wait()
    psutil.wait_procs(list(children.values()), timeout=10)
    assert not [child for child in children.values() if child.is_running()]
    with Stack(settings):
        assert healthy(settings)


def test_a_port_in_use_is_named(settings):
    with socket.socket() as other:
        other.bind(("127.0.0.1", settings.port))
        other.listen()
        with pytest.raises(StackError, match=f"port {settings.port}.*MDF_PORT"):
            Stack(settings).start()


def test_an_api_that_does_not_start_is_told_with_its_log(settings):
    # Another address needs a key, and there is none.
    broken = settings.model_copy(update={"host": "0.0.0.0"})
    with pytest.raises(StackError, match="the API did not start"):
        Stack(broken).start()
