"""`python -m api`: how it starts, where it listens, how it stops, and what it never loads."""

import gc
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from api.server import MIDDLE_COLLECTIONS
from services import keys
from services.installation import Installation
from services.settings import Settings
from tests.conftest import answers
from tests.waiting import PATIENCE_SECONDS, wait_until

Start = Callable[..., subprocess.Popen[bytes]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start(installation: Installation, tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(*program: str, **changes: object) -> subprocess.Popen[bytes]:
        settings: Settings = installation.settings.model_copy(update=changes)
        with (tmp_path / "api.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *(program or ("-m", "api"))],
                env=os.environ | settings.environment(),
                cwd=tmp_path,
                stderr=log,
            )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def await_answer(process: subprocess.Popen[bytes], url: str) -> None:
    wait_until(lambda: process.poll() is not None or answers(url), told="the API did not start")
    assert process.poll() is None


def test_it_serves_and_stops_in_time_with_a_follower(
    start: Start, installation: Installation, tmp_path: Path
) -> None:
    port = free_port()
    process = start(port=port)
    url = f"http://127.0.0.1:{port}"
    await_answer(process, url)
    answer = httpx.get(f"{url}/v1/me")
    assert answer.json()["owner"] == "local"
    assert "server" not in answer.headers
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_SECONDS) in (0, -signal.SIGTERM)
    log = (tmp_path / "api.log").read_text()
    assert "GET '/v1/me' 200" in log
    assert "Traceback" not in log


def test_it_refuses_another_address_while_there_is_no_key(
    start: Start, installation: Installation, tmp_path: Path
) -> None:
    process = start(host="0.0.0.0", port=free_port())
    assert process.wait(PATIENCE_SECONDS) == 1
    log = (tmp_path / "api.log").read_text()
    assert "MDF_HOST is '0.0.0.0', and there is no API key yet" in log
    assert "Traceback" not in log
    with installation.database.write() as session:
        keys.create(session, name="root", owner="local", scopes=["admin"])
    port = free_port()
    process = start(host="0.0.0.0", port=port)
    await_answer(process, f"http://127.0.0.1:{port}")
    assert httpx.get(f"http://127.0.0.1:{port}/v1/me").status_code == 401


def test_its_process_for_torch_ends_with_it(start: Start) -> None:
    port = free_port()
    process = start(port=port)
    url = f"http://127.0.0.1:{port}"
    await_answer(process, url)
    httpx.post(f"{url}/v1/losses/import", files={"file": ("x", b"nothing")}, timeout=60)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    mapped = {each.path for each in psutil.Process(process.pid).memory_maps()}
    assert not [path for path in mapped if "libtorch" in path]
    process.kill()
    gone, alive = psutil.wait_procs(children, timeout=PATIENCE_SECONDS)
    assert gone
    assert not alive


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_it_keeps_no_memory_of_files_that_were_uploaded(start: Start) -> None:
    port = free_port()
    process = start(port=port)
    url = f"http://127.0.0.1:{port}"
    await_answer(process, url)

    def send(megabytes: int) -> None:
        file = b"\xff\xd8\xff" + bytes(megabytes * 10**6)
        answer = httpx.post(f"{url}/v1/images", files={"file": ("a.jpg", file)}, timeout=60)
        assert answer.json()["code"] == "bad_image"

    send(1)
    before = psutil.Process(process.pid).memory_full_info().uss
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(send, [1, 2, 4, 8, 16, 24] * 3))
    # 1 MB; 60 to 90 while the C library kept what was freed.
    assert psutil.Process(process.pid).memory_full_info().uss - before < 12e6


NEVER_COLLECTING = """
import api.server
from api.__main__ import main
api.server.collect_seldom = lambda: None
api.server.LOOK_SECONDS = 3600
main()
"""


@pytest.mark.parametrize(
    ("file", "times", "with_key", "status"),
    [
        (b"\xff\xd8\xff" + bytes(5_000_000), 20, False, 422),
        (bytes(60_000), 250, True, 401),  # 60 kB of each stayed while its refusal held itself
    ],
)
def test_what_was_sent_and_refused_is_no_garbage(
    start: Start, installation: Installation, file: bytes, times: int, with_key: bool, status: int
) -> None:
    if with_key:
        with installation.database.write() as session:
            keys.create(session, name="root", owner="local", scopes=["admin"])
    port = free_port()
    process = start("-c", NEVER_COLLECTING, port=port)
    url = f"http://127.0.0.1:{port}"
    await_answer(process, url)

    def send(times: int) -> int:
        for _ in range(times):
            answer = httpx.post(f"{url}/v1/images", files={"file": ("a.jpg", file)})
            assert answer.status_code == status
        return int(psutil.Process(process.pid).memory_full_info().uss)

    before = send(5)
    assert send(times) - before < 7e6


def test_importing_the_application_is_quick_and_loads_no_torch() -> None:
    script = (
        "import sys, time; start = time.process_time(); import api.app, api.server\n"
        "loaded = {'torch', 'cv2', 'matplotlib', 'skimage', 'alembic'} & sys.modules.keys()\n"
        "print(time.process_time() - start, len(sys.modules), *loaded)"
    )
    output = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert output[2:] == []
    assert float(output[0]) < 15  # about 1 on an idle machine
    assert int(output[1]) < 3000


def printed(script: str, settings: Settings | None = None) -> list[int]:
    """The numbers that a process prints."""
    environment = os.environ | (settings.environment() if settings else {})
    output = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, env=environment
    ).stdout
    return [int(each) for each in output.split()]


def test_the_garbage_collector_begins_when_the_server_runs(installation: Installation) -> None:
    script = """
import gc, api.__main__, api.server

def prepare(installation, ready=api.server.prepare):
    print(int(gc.isenabled()))
    return ready(installation)

def run(server):
    print(int(gc.isenabled()), gc.get_threshold()[2], gc.get_freeze_count())

api.server.prepare, api.server.Server.run = prepare, run
api.__main__.main()
"""
    before, enabled, middle_collections, frozen = printed(script, installation.settings)
    assert (before, enabled) == (0, 1)
    assert middle_collections == MIDDLE_COLLECTIONS
    assert frozen > 100_000


def test_the_garbage_collector_seldom_goes_through_all_that_the_server_holds() -> None:
    script = """
import gc
gc.disable()
from api.server import collect_seldom
collect_seldom()
full = gc.get_stats()[2]["collections"]
held = [[] for _ in range(1_000_000)]
print(gc.get_stats()[1]["collections"], gc.get_stats()[2]["collections"] - full)
"""
    middle_collections, full_collections = printed(script)
    young, middle, _ = gc.get_threshold()
    assert middle_collections > 500_000 / (young * middle)
    assert full_collections == 0  # 8 by the defaults


@pytest.mark.parametrize(
    ("page", "megabytes", "collections", "later"),
    [
        ("b'page' * (1 << 18)", 80, range(3, 6), range(1)),
        ("[[] for _ in range(10_000)]", 40, range(18, 25), range(18, 25)),
    ],
)
def test_garbage_of_what_was_held_for_long_is_bounded(
    page: str, megabytes: int, collections: range, later: range
) -> None:
    script = f"""
import asyncio, errno, gc, psutil
from unittest.mock import patch
from api import server

def resident():
    return psutil.Process().memory_info().rss >> 20

def collections():
    return gc.get_stats()[2]["collections"]

async def leave_garbage():
    full, most = collections(), 0
    for _ in range(300):
        page = [{page}]
        page.append(page)
        await asyncio.sleep(0.003)
        most = max(most, resident())
    return most, collections() - full

def refuse(process):
    raise OSError(errno.EMFILE, "Too many open files")

async def grow():
    bound = asyncio.create_task(server.bound_garbage())
    await asyncio.sleep(0.01)
    before = resident()
    with patch("psutil.Process.memory_info", refuse):
        await asyncio.sleep(0.01)
    most, found = await leave_garbage()
    print(most - before, found)
    held = [{page} for _ in range(300)]
    await asyncio.sleep(0.5)
    full = collections()
    await asyncio.sleep(0.5)
    print(resident() - before, collections() - full)
    held.clear()
    await asyncio.sleep(0.01)
    print((await leave_garbage())[1])

gc.disable()
gc.freeze()
server.LOOK_SECONDS = 0.001
server._return_large_blocks()
asyncio.run(grow())
"""
    most, of_garbage, held, of_held, after_it = printed(script)
    assert most < megabytes  # as much as is held below, unless garbage is found
    assert of_garbage in collections
    assert held > 200
    assert of_held == 0
    assert after_it in later
