"""A server whose answers a test writes down beforehand, faults included."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Asked:
    """A request that the server got."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class ScriptedServer:
    """Gives the answers in the order in which they were written down; the last one repeats."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer in full; `_` in a header's name stands for `-`."""
        self._answers.append(
            lambda handler: _send(handler, status, body, {"Content-Length": len(body), **headers})
        )

    def reply_json(self, status: int, content: Any, **headers: str) -> None:
        """Answer with JSON."""
        kind = "application/json" if status < 400 else "application/problem+json"
        self.reply(status, json.dumps(content).encode(), Content_Type=kind, **headers)

    def break_off(self, status: int, body: bytes, *, length: int, **headers: str) -> None:
        """Promise `length` bytes, send `body`, and end the connection."""
        self._answers.append(
            lambda handler: _send(
                handler, status, body, {"Content-Length": length, **headers}, hang_up=True
            )
        )

    def hang_up(self) -> None:
        """End the connection without an answer."""
        self._answers.append(lambda handler: setattr(handler, "close_connection", True))

    def stop(self) -> None:
        """Close the port."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                script.asked.append(Asked(self.command, self.path, dict(self.headers), body))
                answers = script._answers
                (answers.pop(0) if len(answers) > 1 else answers[0])(self)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the base class's names

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler


def _send(
    handler: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    headers: dict[str, Any],
    *,
    hang_up: bool = False,
) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = handler.close_connection or hang_up


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    scripted = ScriptedServer()
    yield scripted
    scripted.stop()


JOB = {
    "id": "job_1",
    "type": "discriminator_training",
    "name": "",
    "state": "queued",
    "spec": {"task": {"kind": "jpeg"}},
    "created": "2026-01-02T03:04:05Z",
}
