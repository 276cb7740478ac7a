"""Traces: one from a caller's request to the end of its job, through three processes."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from services.database.schema import Image
from tests.waiting import PATIENCE_SECONDS, wait_until

PATIENT = str(Path(__file__).parent / "workers" / "patient_worker.py")
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Span:
    service: str
    name: str
    trace_id: str
    span_id: str
    parent: str
    seconds: float
    failed: bool
    attributes: dict[str, Any]


@dataclass
class Collector:
    """Takes traces over OTLP/HTTP, or keeps whoever sends them waiting."""

    url: str = ""
    silent: bool = False
    asked: int = 0
    spans: list[Span] = field(default_factory=list)

    def take(self, content: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
            service = _plain(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Span(
                            service,
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                            span.status.code == 2,
                            _plain(span.attributes),
                        )
                    )

    def wait(self, condition: Callable[[], bool]) -> None:
        wait_until(condition, told=lambda: self.spans)

    def one(self, name: str) -> Span:
        (found,) = [span for span in self.spans if span.name == name]
        return found


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that all processes begun from here on send to."""
    taken = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.asked += 1
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if taken.silent:
                ended.wait()
                return
            assert self.path == "/v1/traces"
            taken.take(content)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    ended = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    taken.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", taken.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    yield taken
    ended.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def api(collector: Collector, house, serve: Callable[..., Any]) -> Iterator[httpx.Client]:
    """The API, as a process of its own."""
    url = serve().url
    with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
        yield client


def submit(api: httpx.Client, seed_image: Image, **headers: str) -> str:
    """A job of two hundredths of a second a step, by HTTP."""
    given = {
        "name": "steps=30",
        "seed_image_ids": [seed_image.id],
        "task": {"kind": "sisr"},
        "preset": "quick",
    }
    answer = api.post("/v1/jobs?secret=hidden", json=given, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_a_trace_leads_from_the_callers_request_to_the_published_result(
    collector: Collector, house, seed_image: Image, api: httpx.Client, tmp_path: Path
) -> None:
    job_id = submit(api, seed_image, traceparent=CALLER)
    worker = house.worker((PATIENT,))
    job = house.wait_for_end(job_id)
    assert job.state == "succeeded"
    worker.terminate()
    worker.wait(PATIENCE_SECONDS)
    collector.wait(lambda: len({span.service for span in collector.spans}) == 3)

    request = collector.one("POST /v1/jobs")
    assert (request.service, request.parent) == ("mdf-api", CALLER.split("-")[2])
    assert request.attributes["http.route"] == "/v1/jobs"
    assert request.attributes["http.response.status_code"] == 202
    wait, attempt = collector.one("job.wait"), collector.one("job.attempt")
    assert wait.parent == attempt.parent == request.span_id
    assert attempt.service == "mdf-worker"
    assert attempt.attributes == {
        "mdf.job.id": job_id,
        "mdf.job.type": "discriminator_training",
        "mdf.job.attempt": 1,
        "mdf.job.state": "succeeded",
    }
    checkpoints = [span for span in collector.spans if span.name == "job.checkpoint"]
    publish = collector.one("job.publish")
    assert checkpoints
    for span in (publish, *checkpoints):
        assert (span.service, span.parent) == ("mdf-job", attempt.span_id)
        assert span.seconds < attempt.seconds
    for span in (request, wait, attempt, publish, *checkpoints):
        assert span.trace_id == CALLER.split("-")[1] == job.trace.split("-")[1]
        assert not span.failed

    for log in ("api-0.log", "worker-0.log"):
        assert f"trace_id={request.trace_id}]" in (tmp_path / log).read_text()

    api.get("/v1/images/img_none", headers={"traceparent": "00-zz-zz-01\x7f"})
    with house.installation.database.write() as session:
        session.connection().exec_driver_sql("ALTER TABLE images RENAME TO lost")
    assert api.get("/v1/images").status_code == 503
    collector.wait(lambda: "GET /v1/images" in {span.name for span in collector.spans})
    missing = collector.one("GET /v1/images/{image_id}")
    assert (missing.parent, missing.failed) == ("", False)
    assert missing.trace_id != request.trace_id
    assert collector.one("GET /v1/images").failed
    everything = str(collector.spans)
    assert "hidden" not in everything
    assert "healthz" not in everything


MANY = """
import time
from services import telemetry
telemetry.start("job")
begun = time.monotonic()
for _ in range(5000):
    with telemetry.span("job.attempt", {"mdf.job.attempt": 1}):
        pass
print("worked", time.monotonic() - begun, flush=True)
input()
begun = time.monotonic()
telemetry.stop()
print("stopped", time.monotonic() - begun, flush=True)
"""


@pytest.mark.parametrize("fault", ["silent", "gone"])
def test_a_collector_that_does_not_answer_holds_nothing_up(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    collector.silent = fault == "silent"
    if fault == "gone":
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "300")
    monkeypatch.setenv("OTEL_BSP_EXPORT_TIMEOUT", "300000")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", MANY], **pipes) as process:
        assert_quick(process.stdout.readline(), "worked")
        if fault == "silent":
            wait_until(lambda: collector.asked)
        process.stdin.write("\n")
        process.stdin.flush()
        assert_quick(process.stdout.readline(), "stopped")
        assert process.wait(20) == 0
    assert (collector.asked > 0) == (fault == "silent")


def assert_quick(told: str, part: str) -> None:
    """Who waits for the collector takes a minute at least."""
    name, seconds = told.split()
    assert name == part
    assert float(seconds) < 20


def test_without_a_collector_nothing_is_made_to_send_to_it() -> None:
    script = (
        "import sys; from services import telemetry; telemetry.start('api')\n"
        "import api.app, workers.app, workers.job\n"
        "sys.exit(any(name.startswith('opentelemetry.exporter') for name in sys.modules))"
    )
    environment = {key: each for key, each in os.environ.items() if not key.startswith("OTEL_")}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert ended.returncode == 0


def test_a_wrong_variable_is_told_and_the_work_goes_on_without() -> None:
    script = (
        "from services import telemetry; telemetry.start('api')\n"
        "with telemetry.span('x', {}): print(telemetry.traceparent())"
    )
    wrong = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_BSP_MAX_QUEUE_SIZE": "-1",
    }
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **wrong},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "None\n")
    assert "no traces" in ended.stderr
