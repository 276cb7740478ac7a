"""What the API's process logs, when it is asked for JSON."""

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from services.database.schema import Image, Job
from services.installation import Installation
from tests.conftest import answers
from tests.waiting import PATIENCE_SECONDS, wait_until

FORGED = '{"level": "ERROR", "message": "forged"}'
KEY_ID = f"mdf_{'0193' * 8}"
KEY = f"{KEY_ID}_hidden{'Secret-_' * 5}"


@pytest.fixture
def log(installation: Installation, seed_image: Image, tmp_path: Path) -> list[dict[str, object]]:
    """What a process of the API logs over its life, in which it was asked a few things."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = installation.settings.model_copy(
        update={"port": port, "log_format": "json", "log_level": "DEBUG"}
    )
    path = tmp_path / "api.log"
    with path.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"],
            env={**os.environ, **settings.environment()},
            stdout=file,
            stderr=file,
        )
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}"), told=path.read_text)
        ask(port, seed_image)
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
    return [json.loads(line) for line in path.read_text().splitlines()]


def ask(port: int, image: Image) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        given = {"seed_image_ids": [image.id], "task": {"kind": "sisr"}, "preset": "quick"}
        headers = {"X-Request-ID": "mine-1"}
        assert client.post("/v1/jobs", json=given, headers=headers).status_code == 202
        client.get("/v1/me?key=hidden", headers={"Authorization": "Bearer mdf_hidden_secret"})
        client.get(f"/v1/%0A{FORGED}%0D%0A", headers={"X-Request-ID": "not one"})
        client.delete(f"/v1/api-keys/{KEY}", headers={"X-Request-ID": "whsec_hidden"})
        client.get("/v1/webhooks/https://user:hid%2Fhidden@host/")
        client.get("/v1/webhooks/https%3A%2F%2Fuser%3Ahidden%40host/")
        client.get("/v1/webhooks/https://user:hidden%20hidden@host/")
    for line in (f"{KEY} /v1/images", "GET http://user:hidden@127.0.0.1/v1/images", f"GET /{KEY}"):
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(f"{line} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            raw.recv(1000)
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(f"{FORGED}\r\n{FORGED}\r\n\r\n".encode())
        raw.recv(1000)
    for nonsense in (b"x", b"\xff"):
        talk_nonsense(f"127.0.0.1:{port}", nonsense)


def talk_nonsense(own: str, nonsense: bytes) -> None:
    """Say what no page says over the connection of one."""
    page = httpx.get(f"http://{own}/", headers={"Accept": "text/html"}, trust_env=False).text
    (client_id,) = re.findall(r"'client_id': '([0-9a-f-]{36})'", page)
    query = f"EIO=4&transport=websocket&client_id={client_id}&tab_id=t&document_id=d"
    with connect(
        f"ws://{own}/_nicegui_ws/socket.io/?{query}&next_message_id=0",
        origin=Origin(f"http://{own}"),
        proxy=None,
        open_timeout=PATIENCE_SECONDS,
    ) as connection:
        connection.send("40")
        connection.send(nonsense, text=True)
        with suppress(ConnectionClosed):
            while True:
                connection.recv(20)


def test_every_line_is_json_and_a_requests_lines_name_it(
    log: list[dict[str, object]], installation: Installation
) -> None:
    assert {"uvicorn.error", "api.requests"} <= {line["logger"] for line in log}
    assert "forged" not in {line["message"] for line in log}
    (submitted,) = [line for line in log if "'/v1/jobs'" in str(line["message"])]
    assert submitted["request_id"] == "mine-1"
    (strange,) = [line for line in log if "forged" in str(line["message"]) and "404" in str(line)]
    assert str(strange["request_id"]).isalnum()
    assert "hidden" not in str(log)
    assert "Secret" not in str(log)
    asked = [str(line["message"]).rpartition(" in ")[0] for line in log]
    assert {
        f"DELETE '/v1/api-keys/{KEY_ID}_***' 422",
        "GET '/v1/webhooks/https://***@host/' 404",
        "other '/v1/images' 405",
        "GET 'http://***@127.0.0.1/v1/images' 404",
        f"GET '/{KEY_ID}_***' 404",
    } <= set(asked)
    assert asked.count("GET '/v1/webhooks/https://***@host/' 404") == 3
    assert not [line for line in log if "exception" in line]
    with installation.database.read() as session:
        (job,) = session.query(Job).all()
    assert (job.request_id, job.trace) == ("mine-1", None)
