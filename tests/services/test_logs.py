"""The log: whole lines of text or JSON, with ids, which nothing that is logged can forge."""

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services import logs
from services.logs import JsonFormatter, TextFormatter

ROOT = Path(__file__).parents[2]
log = logging.getLogger("services.test")


@pytest.fixture(params=[TextFormatter, JsonFormatter])
def written(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What is logged, in each form."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(request.param())
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield stream
    log.removeHandler(handler)


@pytest.fixture
def as_json() -> Iterator[io.StringIO]:
    """What is logged, as JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    log.addHandler(handler)
    yield stream
    log.removeHandler(handler)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


FORGED = "end\n2026-01-01T00:00:00.000Z ERROR api: forged\r\x1b[2Jgone\u2028\u202eback\x85\0"


def test_a_message_is_one_line_whatever_is_in_it(written: io.StringIO) -> None:
    log.warning("the file %s", FORGED)
    (line,) = written.getvalue().splitlines()
    assert line.isprintable()
    assert "forged" in line


def test_no_line_of_a_traceback_can_pass_for_an_event(written: io.StringIO) -> None:
    log.error("job failed", exc_info=ValueError(FORGED))
    first, *rest = written.getvalue().splitlines()
    assert "job failed" in first
    assert all(line.startswith("  | ") and line.isprintable() for line in rest)
    assert "ValueError: end" in written.getvalue()


KEY_ID = "mdf_0193f1f1f1f1701382f0f1f1f1f1f1f1"
KEY = f"{KEY_ID}_hid_den-{'Hidden01' * 4}abc"
HOOK = "whsec_hidden/HIDDEN+hidden/hidden01234="
STRUCK = [
    (KEY, f"{KEY_ID}_***"),
    (KEY[:50], f"{KEY_ID}_***"),
    (f"DELETE '/v1/api-keys/{KEY}' 422", f"DELETE '/v1/api-keys/{KEY_ID}_***' 422"),
    (f"{KEY},{KEY}", f"{KEY_ID}_***,{KEY_ID}_***"),
    (f"told {HOOK} and {HOOK}", "told whsec_*** and whsec_***"),
    ("https://user:hidden@host:1/a", "https://***@host:1/a"),
    ("redis://:hidden@host/0 and http://hidden@host", "redis://***@host/0 and http://***@host"),
    ("('http://a:hidden@a/', 'http://b:hidden@b/')", "('http://***@a/', 'http://***@b/')"),
    ("https://user:hid/d@en@host/", "https://***@host/"),
    ("/x/https:/user:hidden@host/", "/x/https:/***@host/"),
    ("//user:hidden@host", "//***@host"),
    ('{"url": "https://a:hid\\"den\\\\@host", "x": "é"}', '{"url": "https://***@host", "x": "é"}'),
    (f"http://{KEY}@host", "http://***@host"),
]
KEPT = [
    f"no API key {KEY_ID.replace('mdf', 'key')}, {KEY_ID}",
    "mdf_http_requests of mdf_webhook_deliveries",
    "a secret is `whsec_` and 24 to 64 bytes",
    "anna@example.org asks https://example.org/ for @",
    "celery@host: https://example.org/a?b=c",
]


@pytest.mark.parametrize(("said", "told"), STRUCK)
@pytest.mark.parametrize("form", [TextFormatter, JsonFormatter])
def test_what_is_secret_is_struck_out(form: type[logging.Formatter], said: str, told: str) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "of %s", (said,), None)
    line = form().format(record)
    message = json.loads(line)["message"] if form is JsonFormatter else line.split(" x: ")[1]
    assert message == f"of {told}"


@pytest.mark.parametrize("said", KEPT)
def test_what_only_looks_like_a_secret_stays(written: io.StringIO, said: str) -> None:
    log.warning("%s", said)
    assert said in written.getvalue()


def fail() -> None:
    try:
        {}[KEY]
    except KeyError as error:
        raise ValueError(f"at\nhttps://user:hidden@host/, {HOOK}") from error


def test_a_secret_is_struck_out_of_tracebacks_and_ids_too(written: io.StringIO) -> None:
    try:
        fail()
    except ValueError:
        with logs.about(request_id=HOOK, worker=KEY):
            log.exception("failed for %s", "redis://:hidden@host/")
    told = written.getvalue()
    assert told.count(f"{KEY_ID}_***") == 2
    assert told.count("https://***@host/, whsec_***") == 1
    assert told.count("redis://***@host/") == 1
    assert told.count("whsec_***") == 2
    assert "hid" not in told.lower()


def test_no_line_takes_long(written: io.StringIO) -> None:
    begun = time.process_time()
    for part in ("//:", ":/", "/", "mdf_0", "whsec_", "@:", "//a:@"):
        log.warning("@ %s @", part * (65536 // len(part)))
    assert time.process_time() - begun < 1


def test_a_line_of_json_holds_what_is_known(as_json: io.StringIO) -> None:
    with logs.about(request_id="r1", job_id="job_1", attempt=2, trace_id=None):
        log.error("job %s failed", "x", exc_info=ZeroDivisionError("none"))
    (line,) = lines(as_json)
    exception = line.pop("exception")
    assert str(exception).endswith("ZeroDivisionError: none")
    time = str(line.pop("time"))
    assert time.endswith("Z")
    assert "T" in time
    assert line == {
        "level": "ERROR",
        "logger": "services.test",
        "message": "job x failed",
        "request_id": "r1",
        "job_id": "job_1",
        "attempt": 2,
    }


def test_text_ends_with_the_ids() -> None:
    record = logging.LogRecord("api.requests", logging.INFO, "", 0, "GET %r", ("/v1",), None)
    record.created = 0.25
    with logs.about(job_id="job_1", request_id="r1"):
        line = TextFormatter().format(record)
    assert line == (
        "1970-01-01T00:00:00.250Z INFO api.requests: GET '/v1' [request_id=r1 job_id=job_1]"
    )


def test_blocks_that_run_at_the_same_time_keep_their_ids_apart(as_json: io.StringIO) -> None:
    async def request(name: str) -> None:
        with logs.about(request_id=name):
            await asyncio.sleep(0)
            await asyncio.to_thread(log.warning, "%s", name)

    async def both() -> None:
        await asyncio.gather(*(request(name) for name in "abc"))

    asyncio.run(both())
    assert sorted((line["message"], line["request_id"]) for line in lines(as_json)) == [
        (name, name) for name in "abc"
    ]
    assert logs.current_ids() == {}


def test_a_process_may_be_named_for_all_its_threads(
    as_json: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_process_ids", {})
    logs.name_process(worker="w1")
    logs.name_process(job_id="job_1", request_id=None)
    thread = threading.Thread(target=log.warning, args=("from a thread",))
    thread.start()
    thread.join()
    (line,) = lines(as_json)
    assert (line["worker"], line["job_id"]) == ("w1", "job_1")
    assert "request_id" not in line


def test_a_line_has_no_other_ids() -> None:
    with pytest.raises(ValueError, match="no owner"), logs.about(owner="anna"):
        pass


PROGRAM = """
import logging, threading, warnings
from services.logs import configure_logging
from services.settings import Settings
configure_logging(Settings(log_format="json"), worker="w1")
logging.getLogger("uvicorn.error").info("started")
logging.getLogger("httpx").info("GET https://user:secret@example.com")
warnings.warn("old")
def fail():
    raise RuntimeError("in a thread")
thread = threading.Thread(target=fail, name="reaper")
thread.start()
thread.join()
def leave():
    raise SystemExit
thread = threading.Thread(target=leave)
thread.start()
thread.join()
raise ValueError("at the\\nend")
"""


def test_all_that_a_process_says_is_json() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    said = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [(line["logger"], line["level"]) for line in said] == [
        ("uvicorn.error", "INFO"),
        ("py.warnings", "WARNING"),
        ("services.logs", "ERROR"),
        ("services.logs", "CRITICAL"),
    ]
    assert {line["worker"] for line in said} == {"w1"}
    assert said[2]["message"] == "the thread reaper ends"
    assert said[3]["exception"].endswith("ValueError: at the\nend")


BENCH = """
import asyncio, warnings
from services.logs import configure_logging
from services.settings import Settings
from services.workbench import Workbench

async def work():
    workbench = Workbench(threads=1)
    async with workbench.turn("anna") as bench:
        await bench.run(warnings.warn, "from the bench")
    workbench.close()

if __name__ == "__main__":
    configure_logging(Settings(log_format="json"))
    asyncio.run(work())
"""


def test_a_process_that_is_started_for_work_logs_alike(tmp_path: Path) -> None:
    program = tmp_path / "bench.py"
    program.write_text(BENCH)
    ended = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    (said,) = map(json.loads, ended.stderr.splitlines())
    assert said["logger"] == "py.warnings"
    assert "from the bench" in said["message"]
