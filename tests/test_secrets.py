"""Keys, addresses with passwords and pictures' content never stand in a log, at any level."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest
from PIL.PngImagePlugin import PngInfo

from services.embedded.broker import find_server
from tests.waiting import PATIENCE_SECONDS, wait_until

BINARY = {"Content-Type": "application/octet-stream", "Upload-Offset": "0"}
PASSWORD = "passwordofredis"
IN_PICTURE = "wordsinapicture"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class House:
    """A whole service that logs all it can, and what those who call it know."""

    url: str
    environment: dict[str, str]
    output: Path
    secrets: list[str] = field(default_factory=lambda: [PASSWORD, IN_PICTURE])

    def run(self, *arguments: str) -> str:
        """A command of `mdf`; gives its output, which may hold secrets. What it logs is kept."""
        with self.output.open("ab") as errors:
            done = subprocess.run(
                [sys.executable, "-m", "mdf", *arguments],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                check=False,
            )
        return done.stdout.decode()

    def logs(self) -> str:
        """All that was logged."""
        folder = Path(self.environment["MDF_HOME"]) / "logs"
        return "\n".join(
            path.read_text(errors="replace") for path in (self.output, *sorted(folder.iterdir()))
        )


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    redis, port = free_port(), free_port()
    environment = without_settings() | {
        "MDF_HOME": str(tmp_path / "home"),
        "MDF_PORT": str(port),
        "MDF_REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{redis}/0",
        "MDF_LOG_LEVEL": "DEBUG",
        "MDF_DISK_FLOOR_BYTES": "0",
        "MDF_THREADS": "1",
    }
    (tmp_path / "redis.conf").write_text(f"requirepass {PASSWORD}\nport {redis}\nsave ''\n")
    server = subprocess.Popen(
        [find_server(), tmp_path / "redis.conf"], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    output = tmp_path / "output.log"
    with output.open("wb") as log:
        stack = subprocess.Popen(
            [sys.executable, "-m", "mdf", "serve"], env=environment, stdout=log, stderr=log
        )
    opened = House(f"http://127.0.0.1:{port}", environment, output)
    try:
        wait_until(lambda: stack.poll() is not None or is_ready(opened.url), told=opened.logs)
        assert stack.poll() is None, output.read_text()
        yield opened
    finally:
        stack.send_signal(signal.SIGINT)
        try:
            stack.wait(PATIENCE_SECONDS)
        finally:
            stack.kill()
            server.kill()
            server.wait()


def without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MDF_")}


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def picture() -> bytes:
    """A PNG with words in it."""
    content, words = io.BytesIO(), PngInfo()
    words.add_text("Comment", IN_PICTURE)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(content, "PNG", pnginfo=words)
    return content.getvalue()


@pytest.mark.slow
def test_secrets_never_reach_a_log(house: House) -> None:
    made = re.search(r"mdf_[0-9a-f]{32}_[\w-]{43}", house.run("keys", "create", "root", "--local"))
    assert made is not None
    key = made[0]
    house.environment |= {"MDF_API_KEY": key, "MDF_URL": house.url}
    wrong = f"mdf_{'0' * 32}_{'wrongkey' * 5}abc"
    house.secrets += [each.split("_", 2)[2] for each in (key, wrong)]
    with httpx.Client(base_url=house.url, timeout=PATIENCE_SECONDS) as browser:
        ask(browser, house, key, wrong)
    annas = house.run("keys", "create", "annas", "--owner", "anna", "--scope", "read").strip()
    house.secrets.append(annas[-43:])
    house.run("images", "ls")
    house.run("keys", "ls", "--api-key", wrong)
    logged = house.logs()
    for told in (" DEBUG ", "POST '/v1/session' 201", "POST '/v1/webhooks' 201", "jobs.run"):
        assert told in logged
    for secret in house.secrets:
        assert secret not in logged


def ask(browser: httpx.Client, house: House, key: str, wrong: str) -> None:
    """Send secrets wherever one may stand, and where none should."""
    own = {"Authorization": f"Bearer {key}"}
    token = browser.post("/v1/session", json={"api_key": key}).cookies["mdf_session"]
    house.secrets.append(token)
    assert browser.get("/v1/me").json()["owner"] == "local"
    browser.cookies.clear()
    hidden = "passwordinanaddress"
    house.secrets.append(hidden)
    for headers in ({"Authorization": f"Bearer {wrong}"}, {"Cookie": f"mdf_session={hidden}"}):
        assert browser.get("/v1/me", headers=headers).status_code == 401
    browser.get("/v1/me", auth=("user", hidden))
    browser.get(f"/v1/images?token={hidden}", headers=own)
    browser.post("/v1/jobs", content=f'{{"x": "{hidden}"', headers=own)
    browser.post("/v1/jobs", json={"name": hidden, "type": hidden}, headers=own)
    image = browser.post("/v1/images", files={"file": ("x.png", picture())}, headers=own)
    assert image.status_code == 201, image.text
    torn = browser.post("/v1/images", files={"file": ("x.png", picture()[:-99])}, headers=own)
    assert torn.status_code == 422
    with_password = {"url": f"https://user:{hidden}@hooks.invalid/"}
    assert browser.post("/v1/webhooks", json=with_password, headers=own).status_code == 422
    hook = {"url": f"https://hooks.invalid/{hidden}?token={hidden}"}
    webhook = browser.post("/v1/webhooks", json=hook, headers=own).json()
    house.secrets.append(webhook["secret"].removeprefix("whsec_"))
    browser.post(f"/v1/webhooks/{webhook['id']}/ping", headers=own)
    dataset = send_dataset(browser, own)

    def imported() -> dict[str, Any] | None:
        found = browser.get(f"/v1/datasets/{dataset}", headers=own).json()
        return None if found["state"] == "importing" else found

    shown = wait_until(imported, told=house.logs)
    assert (shown["state"], shown["images"]) == ("ready", 1)


def send_dataset(browser: httpx.Client, own: dict[str, str]) -> str:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("one.png", picture())
        packed.writestr("torn.png", picture()[:-99])
    content = archive.getvalue()
    source: dict[str, Any] = {"kind": "upload", "size": len(content)}
    made = browser.post("/v1/datasets", json={"name": "x", "source": source}, headers=own).json()
    sent = browser.patch(
        f"/v1/datasets/{made['id']}/content", content=content, headers=own | BINARY
    )
    assert sent.status_code == 204, sent.text
    return str(made["id"])


WRONG = [
    ("api", "MDF_DATABASE_URL", f"nonsense://mdf:{PASSWORD}@127.0.0.1:9/mdf"),
    ("workers", "MDF_REDIS_URL", f"nonsense://:{PASSWORD}@127.0.0.1:9/0"),
    ("workers", "MDF_DATABASE_URL", f"postgresql+psycopg://mdf:{PASSWORD}@127.0.0.1:9/mdf"),
]


def test_an_address_that_is_wrong_is_told_without_its_password(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-m", module],
            env=without_settings()
            | {
                "MDF_HOME": str(tmp_path / str(case)),
                "MDF_PORT": "0",
                "MDF_LOG_LEVEL": "DEBUG",
                name: address,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for case, (module, name, address) in enumerate(WRONG)
    ]
    for process in started[:2]:
        assert process.wait(PATIENCE_SECONDS) == 1
    started[2].kill()  # it tries again and again
    told = "".join(process.communicate()[0] for process in started)
    assert "sqlalchemy.dialects:nonsense" in told
    assert PASSWORD not in told
