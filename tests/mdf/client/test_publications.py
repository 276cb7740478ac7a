"""What losses and models have in common for the client."""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mdf.client import Client


@pytest.fixture
def slow() -> Iterator[str]:
    """A server that takes its time over an import."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(0.5)
            body = (
                b'{"id": "model_1", "name": "x", "job_id": null, "manifest": {}, "sha256": "0",'
                b'"files": [], "created": "2026-01-02T03:04:05Z"}'
            )
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_import_may_take_longer_than_other_answers(slow: str, tmp_path: Path) -> None:
    file = tmp_path / "x.pth"
    file.write_bytes(b"weights")
    with Client(slow, timeout=0.2, retries=0) as client:
        assert client.models.import_file(file).id == "model_1"
