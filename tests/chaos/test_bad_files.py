"""Bad files at every door that takes files: refused in words, at once; nothing is left of them."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from random import Random
from typing import Any

import httpx
import psutil
import pytest

from tests.chaos.bad_files import (
    ARCHIVES,
    ARTEFACTS,
    GOOD,
    NO_PICTURES,
    PHOTO,
    PICTURES,
    Make,
    encoded,
)

WORKER = ("-m", "workers", "--queues", "restore,prepare")
# Seconds that an answer may take; a short form may share its machine with much else.
LONGEST = {"full": 2.0, "short": 10.0}
MOST_MEMORY = 200  # MB more than before, the API and its children together
GOOD_EVERY = 10
NAMES = ("photo.png", "photo.jpg", "../../etc/passwd", "a\u202egnp.exe", "x" * 300, "", "a\0b")

# What each door is offered: pictures to those that take pictures, and everything to each.
_ANYTHING = NO_PICTURES | PICTURES
DOORS: dict[str, dict[str, Make]] = {
    "images": _ANYTHING | ARCHIVES,
    "restore": _ANYTHING,
    "losses": NO_PICTURES | ARTEFACTS | ARCHIVES,
    "models": NO_PICTURES | ARTEFACTS | ARCHIVES,
    "datasets": NO_PICTURES | ARCHIVES,
}


def form(*parts: bytes, boundary: bytes = b"b", end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + end


def part(
    content: bytes = GOOD["PNG"], name: bytes = b"file", more: bytes = b'; filename="a.png"'
) -> bytes:
    return b'Content-Disposition: form-data; name="' + name + b'"' + more + b"\r\n\r\n" + content


FORM = "multipart/form-data; boundary=b"
# Forms that are none, or not as they say: content type and body.
FORMS: dict[str, tuple[str, bytes]] = {
    "no boundary": ("multipart/form-data", form(part())),
    "another boundary": ("multipart/form-data; boundary=c", form(part())),
    "an endless boundary": (f"multipart/form-data; boundary={'b' * 5000}", form(part())),
    "a boundary of bytes": ("multipart/form-data; boundary=\xff\xfe", form(part())),
    "no end": (FORM, form(part(), end=b"")),
    "nothing": (FORM, b""),
    "two files": (FORM, form(part(), part())),
    "a file and a field of one name": (FORM, form(part(), part(b"x", more=b""))),
    "a field for a file": (FORM, form(part(b"x", more=b""))),
    "another field": (FORM, form(part(name=b"picture"))),
    "a name of bytes": (FORM, form(part(name=b"\xff\xfe"))),
    "no name": (FORM, form(b"Content-Disposition: form-data\r\n\r\nx")),
    "no header": (FORM, form(b"\r\nx")),
    "a header without end": (FORM, form(b"Content-Disposition: " + b"x" * 100_000)),
    "many headers": (FORM, form(b"X: y\r\n" * 5000 + part())),
    "many fields": (FORM, form(*(part(b"x", b"f%d" % n, b"") for n in range(2000)), part())),
    "a large field": (FORM, form(part(b"x" * 500_000, b"name", b""), part())),
    "a form in a form": (FORM, form(part(form(part())))),
    "a file of another charset": (
        FORM,
        form(part(more=b"; filename*=utf-16''%FF%FE; filename=\"a\"")),
    ),
    "JSON": ("application/json", b'{"file": "a.png"}'),
    "deep JSON": ("application/json", b'{"a":' * 50_000),
    "a form of a web page": ("application/x-www-form-urlencoded", b"file=a.png"),
    "no type": ("", form(part())),
}


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    content_type: str
    seconds: float


@contextmanager
def watched(read: Callable[[], int]) -> Iterator[list[int]]:
    """What `read` gives, ten times a second, in the list."""
    readings = [read()]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            readings.append(read())

    thread = threading.Thread(target=watch)
    thread.start()
    yield readings
    stop.set()
    thread.join()


class Doors:
    """The places that take files, over HTTP."""

    def __init__(self, served: Any, model_id: str) -> None:
        self.served = served
        self.client = httpx.Client(base_url=served.url, timeout=60)
        self._paths = {
            "images": "/v1/images",
            "restore": f"/v1/models/{model_id}/restore",
            "losses": "/v1/losses/import",
            "models": "/v1/models/import",
        }

    def send(self, door: str, content: bytes, name: str) -> Answer:
        """A file; a data set's archive in one part."""
        if door != "datasets":
            return self._timed(
                lambda: self.client.post(self._paths[door], files={"file": (name, content)})
            )
        announced = {"name": "bad", "source": {"kind": "upload", "size": max(1, len(content))}}
        dataset = self.client.post("/v1/datasets", json=announced).raise_for_status().json()["id"]
        headers = {"Content-Type": "application/octet-stream", "Upload-Offset": "0"}
        path = f"/v1/datasets/{dataset}/content"
        return self._timed(lambda: self.client.patch(path, content=content, headers=headers))

    def send_form(self, door: str, kind: str, content: bytes) -> Answer:
        """A body as it is."""
        headers = {"Content-Type": kind.encode("latin-1")} if kind else {}
        path = self._paths.get(door, "/v1/images")
        return self._timed(lambda: self.client.post(path, content=content, headers=headers))

    def good(self, chance: Random) -> int:
        """A good picture, which nobody has sent before; gives the status."""
        shade = PHOTO.copy()
        shade[:4, :4] = [[[chance.randrange(256) for _ in range(3)] for _ in range(4)]] * 4
        file = ("good.png", encoded("PNG", shade))
        return self.client.post("/v1/images", files={"file": file}).status_code

    def lie_about_length(self, chance: Random) -> None:
        """Say that more comes than comes, and go."""
        body = form(part())
        host, port = self.served.url.removeprefix("http://").split(":")
        said = len(body) + chance.choice((1, 1000, 1 << 24))
        with socket.create_connection((host, int(port)), timeout=2) as connection:
            connection.sendall(
                f"POST /v1/images HTTP/1.1\r\nHost: {host}\r\nContent-Type: {FORM}\r\n"
                f"Content-Length: {said}\r\n\r\n".encode()
                + body
            )

    def imports(self) -> list[dict[str, Any]]:
        """The jobs that import data sets."""
        page = self.client.get("/v1/jobs", params={"type": "dataset_import", "limit": 200})
        jobs: list[dict[str, Any]] = page.raise_for_status().json()["data"]
        return jobs

    @staticmethod
    def _timed(request: Callable[[], httpx.Response]) -> Answer:
        began = time.monotonic()
        answer = request()
        return Answer(
            answer.status_code,
            answer.text[:500],
            answer.headers.get("content-type", ""),
            time.monotonic() - began,
        )


@pytest.fixture
def doors(house, serve, model, tmp_path, monkeypatch) -> Iterator[Doors]:
    """A served API and a worker that imports data sets; temporary files in `tmp_path / "t"`."""
    (tmp_path / "t").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    limits = {"requests_per_minute": 10**6, "queued_jobs": 10**6, "max_queued_jobs": 10**6}
    opened = Doors(serve(**limits), model.id)
    # The processes that hold torch start with the first file.
    for door in DOORS:
        assert opened.send(door, b"nothing", "nothing").status == (
            204 if door == "datasets" else 422
        )
    yield opened
    opened.client.close()


def judge(scenario: Any, door: str, kind: str, answer: Answer, longest: float) -> None:
    """Hold an answer to a bad file against the promise."""
    where = f"{door}: {kind}: {answer.status} after {answer.seconds:.2f} s: {answer.text}"
    scenario.time("answers", answer.seconds, max=longest)
    if answer.status >= 500:
        scenario.violate(where)
    elif answer.status >= 400 and answer.content_type != "application/problem+json":
        scenario.violate(f"no problem: {where}")
    elif answer.seconds > longest:
        scenario.violate(f"too slow: {where}")


def offers(chance: Random, number: int) -> Iterator[tuple[str, str, Make]]:
    """So many times a door and a kind; at a door each kind comes once before one comes again."""
    waiting = {}
    for door, kinds in DOORS.items():
        shuffled = list(kinds.items())
        chance.shuffle(shuffled)
        waiting[door] = cycle(shuffled)
    for door in islice(cycle(("images", "restore", "images", *DOORS)), number):
        yield (door, *next(waiting[door]))


@pytest.mark.slow
def test_bad_files_are_refused_and_leave_nothing(doors, house, count, chance, figures, tmp_path):
    house.worker(WORKER)
    number = count(short=60, full=500)
    assert doors.good(chance) == 201
    with figures("10", "bad files at every door", number) as scenario:
        took, kinds = 0, set()
        with watched(doors.served.memory) as memory:
            for place, (door, kind, make) in enumerate(offers(chance, number)):
                kinds.add(kind)
                answer = doors.send(door, make(chance), chance.choice(NAMES))
                took += answer.status < 300
                judge(scenario, door, kind, answer, LONGEST[figures.form])
                if place % GOOD_EVERY == 0 and doors.good(chance) != 201:
                    scenario.violate(f"a good picture is refused after {kind}")
        scenario.figure("kinds", len(kinds), at_least=40)
        scenario.figure("taken, being harmless", took)
        scenario.figure("memory", (max(memory) - memory[0]) / 1e6, "MB", at_most=MOST_MEMORY)
        wait_for_imports(scenario, doors)
        # Torch makes a folder for what it compiles, once.
        left = [
            path.name for path in (tmp_path / "t").glob("*") if "torchinductor" not in path.name
        ]
        left += [path.name for path in house.installation.settings.home_folder.glob("import-*")]
        for name in left:
            scenario.violate(f"{name} is left")
        told = doors.served.log.read_text()
        assert "Traceback" not in told, told


def wait_for_imports(scenario: Any, doors: Doors) -> None:
    """Bad archives fail in words or give what is good in them; none takes its process down."""
    end = time.monotonic() + 300
    jobs = doors.imports()
    while any(job["state"] in ("queued", "running") for job in jobs):
        assert time.monotonic() < end, "an import does not end"
        time.sleep(0.2)
        jobs = doors.imports()
    for job in jobs:
        if job["state"] == "failed" and job["error"]["code"] != "bad_input":
            scenario.violate(f"an import failed with {job['error']}")
        if job["attempt"] > 1:
            scenario.violate(f"an import took {job['attempt']} attempts")
    scenario.figure("imports ended", len(jobs))


def test_forms_that_lie_are_refused(doors, count, chance, figures):
    with figures("10", "forms that are none", count(short=len(FORMS), full=100)) as scenario:
        kinds = list(FORMS.items())
        for place in range(scenario.count):
            kind, (content_type, body) = kinds[place % len(kinds)]
            door = ("images", "restore", "losses", "models")[(place + place // len(kinds)) % 4]
            answer = doors.send_form(door, content_type, body)
            judge(scenario, door, kind, answer, LONGEST[figures.form])
            doors.lie_about_length(chance)
        if doors.good(chance) != 201:
            scenario.violate("a good picture is refused")
        told = doors.served.log.read_text()
        assert "Traceback" not in told, told
        with suppress(psutil.NoSuchProcess):
            files = [file.path for file in doors.served.process.open_files()]
            scenario.figure("files left open", sum("/t/" in path for path in files), at_most=0)
