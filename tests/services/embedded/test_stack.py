"""The embedded stack comes up, mends itself, and goes down without a trace."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import psutil
import pytest
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError

from services.database import Database
from services.embedded.stack import Stack, StackError
from services.errors import BadInputError
from services.settings import Settings
from tests.waiting import PATIENCE_SECONDS, wait_until

SETUP = """
import sys
from services.embedded.stack import Stack
from services.settings import load_settings
stack = Stack(load_settings(), tell=lambda line: print(line, flush=True))
"""
DUMMIES = """
slow = '''
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep({seconds}), sys.exit()))
print("ready", flush=True)
time.sleep(600)
'''
stack._api.stop_seconds = 75
stack._answers = lambda: True
stack._broker = None
for child in (stack._api, *stack._workers):
    child.command = (sys.executable, "-c", slow)
"""
RUN = """
with stack.heeding_signals(), stack:
    print("up", flush=True)
    stack.wait()
"""
SERVE = SETUP + RUN


@pytest.fixture
def settings(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Settings(home=tmp_path / "my home", port=port, disk_floor_bytes=0)


def get(settings, path):
    url = f"http://127.0.0.1:{settings.port}{path}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def healthy(settings) -> bool:
    try:
        get(settings, "/healthz")
    except OSError:
        return False
    return True


# Parts of the stack by a word of their command lines; the light worker's is looked for first.
PARTS = ("redis-server", "--queues", "workers", "api")


def family(pid, but=()) -> dict[str, psutil.Process]:
    """The stack's children by what they run; `but` are another stack's."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        if process in but:
            continue
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:  # it has just ended
            continue
        name = next((name for name in PARTS if name in line), None)
        if name is not None:
            found[name] = process
    return found


def workers(settings):
    return get(settings, "/v1/workers")["data"]


def test_comes_up_mends_itself_and_stops(settings):
    told = []
    others = psutil.Process().children(recursive=True)
    with Stack(settings, tell=told.append) as stack:
        assert healthy(settings)
        wait_until(lambda: len(workers(settings)) == 2)

        with pytest.raises(StackError, match="runs already"):
            Stack(settings).start()

        for name in PARTS:
            victim = family(os.getpid(), others)[name]
            victim.kill()
            wait_until(
                lambda name=name, old=victim: (
                    family(os.getpid(), others).get(name, old).pid != old.pid
                )
            )
        wait_until(lambda: healthy(settings))
        wait_until(lambda: len(workers(settings)) >= 2)
        children = list(family(os.getpid(), others).values())
        assert len(children) == len(PARTS)
    assert len(told) == len(PARTS)
    assert not [child for child in children if child.is_running()]
    assert not healthy(settings)
    assert stack.url == f"http://127.0.0.1:{settings.port}"


def serve(settings, script=SERVE, **options):
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        **options,
        env={**os.environ, **settings.environment()},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "up\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_it_in_order(settings, number):
    process = serve(settings)
    children = family(process.pid)
    process.send_signal(number)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert not [child for child in children.values() if child.is_running()]


def test_what_nohup_starts_outlasts_its_terminal(settings):
    process = serve(settings, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.terminate()
    assert process.wait(PATIENCE_SECONDS) == 0


@pytest.fixture
def saving(settings, request):
    """A stack whose processes take so many seconds to stop."""
    process = serve(settings, SETUP + DUMMIES.format(seconds=request.param) + RUN)
    logs = settings.home_folder / "logs"
    wait_until(lambda: [log.read_text() for log in logs.glob("*.log")] == ["ready\n"] * 3)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("saving", [600], indirect=True)
def test_the_second_signal_is_told_what_goes_on_and_the_third_ends_it(saving):
    children = psutil.Process(saving.pid).children(recursive=True)
    assert len(children) == 3
    saving.terminate()
    time.sleep(0.5)
    saving.send_signal(signal.SIGINT)
    assert saving.stdout.readline() == "still saving what runs; once more ends it at once\n"
    assert saving.poll() is None
    saving.terminate()
    assert saving.wait(30) == -signal.SIGTERM
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_SECONDS)
    assert alive == []


@pytest.mark.parametrize("saving", [4], indirect=True)
def test_a_terminal_that_closes_may_say_so_several_times(saving):
    for _ in range(4):
        saving.send_signal(signal.SIGHUP)
        time.sleep(0.3)
    assert saving.wait(PATIENCE_SECONDS) == 0


def test_a_signal_before_it_is_up_stops_it_in_order(settings, monkeypatch):
    stack = Stack(settings)
    migrate = Database.migrate

    def be_told_meanwhile(database):
        migrate(database)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Database, "migrate", be_told_meanwhile)
    before = signal.getsignal(signal.SIGTERM)
    with stack.heeding_signals():
        assert stack.start() is False
        stack.wait()
        stack.stop()
    assert not healthy(settings)
    assert signal.getsignal(signal.SIGTERM) is before


def test_killed_it_takes_its_children_along_and_can_start_again_at_once(settings):
    process = serve(settings)
    wait_until(lambda: len(family(process.pid)) == len(PARTS))
    children = family(process.pid)
    process.kill()
    process.wait()
    psutil.wait_procs(list(children.values()), timeout=PATIENCE_SECONDS)
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
    stack = Stack(settings)
    stack._api.command = (sys.executable, "-c", "raise SystemExit('not today')")
    with pytest.raises(StackError, match=r"the API did not start(.|\n)*not today"):
        stack.start()


def test_another_address_without_a_key_is_refused_before_anything_starts(settings):
    open_to_all = settings.model_copy(update={"host": "0.0.0.0"})
    with pytest.raises(BadInputError, match=r"MDF_HOST is '0\.0\.0\.0', and there is no API key"):
        Stack(open_to_all).start()
    assert not (settings.home_folder / "logs").exists()
    assert not (settings.home_folder / "redis").exists()


class Ok(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()


def test_its_own_health_is_not_asked_through_a_proxy(settings, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # made anew, of this environment
    with HTTPServer(("127.0.0.1", settings.port), Ok) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        wait_until(Stack(settings)._answers)
        server.shutdown()


@pytest.fixture
def dummies(settings, monkeypatch):
    """A stack of two processes that do nothing, up and running, and what it tells."""
    told = []
    without_broker = settings.model_copy(update={"redis_url": SecretStr("redis://nowhere")})
    stack = Stack(without_broker, tell=told.append)
    monkeypatch.setattr(stack, "_answers", lambda: True)
    for child in (stack._api, *stack._workers):
        child.command = ("sleep", "60")
    stack.start()
    yield stack, told
    stack.stop()


def test_a_child_that_cannot_be_started_again_for_a_while_does_not_end_the_rest(
    dummies, monkeypatch
):
    stack, told = dummies
    api, worker = stack._api.process, stack._workers[0].process
    spawn = stack._spawn
    monkeypatch.setattr(stack, "_spawn", raising(OSError("no memory")))
    worker.kill()
    wait_until(lambda: len(told) >= 3)
    assert told[1:3] == ["worker-0 cannot be started: no memory"] * 2
    monkeypatch.setattr(stack, "_spawn", spawn)
    wait_until(lambda: stack._workers[0].process is not None)
    assert stack._api.process is api
    assert api.poll() is None


def test_it_starts_with_a_database_that_cannot_be_written(settings, monkeypatch):
    full = OperationalError("UPDATE", {}, sqlite3.OperationalError("database or disk is full"))
    monkeypatch.setattr("services.jobs.deaths.take_back", raising(full))
    stack = Stack(settings.model_copy(update={"redis_url": SecretStr("redis://nowhere")}))
    monkeypatch.setattr(stack, "_answers", lambda: True)
    for child in (stack._api, *stack._workers):
        child.command = ("sleep", "60")
    stack.start()
    assert stack._api.process.poll() is None
    stack.stop()


def test_a_terminal_that_is_gone_does_not_end_the_stack(dummies):
    stack, _ = dummies
    stack._listener = raising(BrokenPipeError())
    old = stack._workers[0].process
    old.kill()
    wait_until(lambda: stack._workers[0].process not in (None, old))
    assert stack._api.process.poll() is None


def test_a_failure_of_the_stack_itself_ends_the_wait_with_its_reason(dummies, monkeypatch):
    stack, _ = dummies
    api = stack._api.process
    monkeypatch.setattr(stack, "_watch_child", raising(RuntimeError("a fault of ours")))
    with pytest.raises(StackError, match="a fault of ours"):
        stack.wait()
    stack.stop()
    assert api.poll() is not None


def raising(error):
    def fail(*_):
        raise error

    return fail
