"""The application, in this process and behind a real server."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from skimage import data

from api.app import create_app
from api.server import Server
from services import keys
from services.access import Scope
from services.installation import Installation
from tests.waiting import PATIENCE_SECONDS, wait_until

Problem = Callable[..., dict[str, object]]
PHOTO = np.ascontiguousarray(data.astronaut()[:96, :128])


def png(pixels: np.ndarray = PHOTO) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Wait for a busy server longer than httpx does by itself."""
    with pytest.MonkeyPatch.context() as patch:
        for each in ("connect", "read", "write", "pool"):
            patch.setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, each, PATIENCE_SECONDS)
        yield


@pytest.fixture
def client(installation: Installation) -> Iterator[TestClient]:
    """A caller on this machine."""
    app = create_app(installation)
    with TestClient(
        app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)
    ) as connected:
        yield connected


@pytest.fixture
def image_id(client: TestClient) -> str:
    """An uploaded photograph of 128×96 px."""
    answer = client.post("/v1/images", files={"file": ("astronaut.png", png())})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.fixture
def job_id(client: TestClient, image_id: str) -> str:
    """A queued job on it."""
    answer = client.post(
        "/v1/jobs", json={"seed_image_ids": [image_id], "task": {"kind": "jpeg"}, "preset": "quick"}
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


@pytest.fixture
def make_key(installation: Installation) -> Callable[..., dict[str, str]]:
    """Make a key; gives the headers that show it."""

    def make(*scopes: Scope, owner: str = "anna", **quotas: int) -> dict[str, str]:
        with installation.database.write() as session:
            _, token = keys.create(session, name="test", owner=owner, scopes=scopes, quotas=quotas)
        return {"Authorization": f"Bearer {token}"}

    return make


@pytest.fixture
def assert_problem() -> Problem:
    """Hold an answer against RFC 9457, a status and a code."""

    def check(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem: dict[str, object] = answer.json()
        assert problem.keys() == {
            "type",
            "title",
            "status",
            "detail",
            "code",
            "request_id",
            "errors",
        }
        assert problem["status"] == status
        assert problem["code"] == code
        assert problem["type"] == f"urn:mdf:problem:{code}"
        assert problem["request_id"] == answer.headers["x-request-id"]
        assert problem["detail"]
        assert "Traceback" not in answer.text
        return problem

    return check


@dataclass
class Live:
    """A server that runs, and where."""

    server: Server
    url: str
    thread: threading.Thread

    def stop(self) -> float:
        """Stop it; gives the seconds that it took."""
        started = time.monotonic()
        self.server.should_exit = True
        self.thread.join(timeout=PATIENCE_SECONDS)
        assert not self.thread.is_alive()
        return time.monotonic() - started


@pytest.fixture
def live(installation: Installation) -> Iterator[Live]:
    """The application behind uvicorn on a free port of loopback."""
    free_port = installation.settings.model_copy(update={"port": 0})
    server = Server(replace(installation, settings=free_port))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive())
    assert server.started
    port = server.servers[0].sockets[0].getsockname()[1]
    running = Live(server, f"http://127.0.0.1:{port}", thread)
    yield running
    running.stop()
