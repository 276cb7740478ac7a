"""The studio as people meet it: a running service with a worker, and Debian's Chromium.

    def test_something(studio, page):
        page.goto("/seed")
        page.get_by_role("button", name="…").click()
        expect(page.get_by_role("alert")).to_have_text("…")

`page` is a tab of a fresh browser profile, `new_page` makes more of them, and a second tab of the
same profile comes by `page.context.new_page()`. A test fails if a page of it logs an error to the
console, raises one, or asks another host for anything; what it provokes it names by
`watch.allow(…)`.

The browser is /usr/bin/chromium, or what CHROMIUM names. Without one these tests skip, unless
CHROMIUM says that there must be one.
"""

import io
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from skimage import data

import mdf
from mdf.client import Job
from services import keys
from services.access import Scope
from services.embedded.stack import Stack
from services.installation import Installation
from services.settings import Settings

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE = 20_000  # milliseconds that a page may take where a test waits for something
PHOTO = np.ascontiguousarray(data.astronaut()[32:128, 160:288])
# Two scales of a few steps: a second or two, once the process is up.
TINY = {"scales": 2, "iterations": 4, "width": 4, "max_size": 48}

expect.set_options(timeout=PATIENCE)


def png(pixels: np.ndarray = PHOTO) -> bytes:
    """The pixels as a file."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


class Studio:
    """`mdf serve` with its broker and workers, in a folder and on a port of its own."""

    def __init__(self, stack: Stack, settings: Settings) -> None:
        self.url = stack.url
        self.settings = settings
        self.installation = Installation.open(settings)
        self.client = mdf.Client(self.url, timeout=30)
        self._trained: Job | None = None

    def upload(self, pixels: np.ndarray = PHOTO, *, name: str = "astronaut.png") -> str:
        """The id of an image on the server."""
        return self.client.images.upload(png(pixels), name=name).id

    def train(self, *, name: str = "astronaut", task: str = "jpeg", **recipe: object) -> Job:
        """A training, begun: a tiny one, but for what `recipe` changes."""
        return self.client.train(
            self.upload(), task, preset="quick", recipe={**TINY, **recipe}, name=name
        )

    def trained(self) -> Job:
        """A training that has succeeded; always the same one."""
        if self._trained is None:
            self._trained = self.client.jobs.wait(self.train().id, timeout=120)
            assert self._trained.state == "succeeded", self._trained.error
        return self._trained

    def make_key(self, owner: str, *scopes: Scope, **quotas: int) -> str:
        """The token of a new key; from the first one on, which is an admin's, all need one."""
        with self.installation.database.write() as session:
            _, token = keys.create(
                session, name=f"{owner}'s", owner=owner, scopes=scopes, quotas=quotas
            )
        return token

    def revoke(self, *owners: str) -> None:
        """Revoke the keys of these owners."""
        with self.installation.database.write() as session:
            mine = [key for key in keys.list_keys(session).items if key.owner in owners]
            for key in sorted(mine, key=lambda key: "admin" in key.scopes):
                keys.revoke(session, key.id)

    def forget_keys(self) -> None:
        """Revoke all keys: from then on nobody needs one."""
        with self.installation.database.read() as session:
            owners = {key.owner for key in keys.list_keys(session).items}
        self.revoke(*owners)

    def kill_api(self) -> None:
        """End the API's process without a warning; `mdf serve` starts it again."""
        (api,) = (
            process
            for process in psutil.Process().children()
            if process.status() != psutil.STATUS_ZOMBIE and process.cmdline()[-2:] == ["-m", "api"]
        )
        api.kill()

    def close(self) -> None:
        """Let go of what this process holds; the stack goes on."""
        self.client.close()
        self.installation.close()


class Watch:
    """What pages do that they should not."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._allowed: list[str] = []
        self._seen: list[str] = []

    def allow(self, *parts: str) -> None:
        """Say nothing of errors that contain one of these words."""
        self._allowed.extend(parts)

    def over(self, context: BrowserContext) -> None:
        """Look at all pages of a profile."""
        context.on("console", lambda line: line.type == "error" and self._note(line.text))
        context.on("weberror", lambda error: self._note(str(error.error)))
        context.on("request", lambda request: self._check_host(request.url))

    def faults(self) -> list[str]:
        """What has been seen, but for what was allowed."""
        return [seen for seen in self._seen if not any(part in seen for part in self._allowed)]

    def _note(self, what: str) -> None:
        self._seen.append(what)

    def _check_host(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob", "about") and parts.netloc != self._host:
            self._note(f"a request to another host: {url}")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A service for the tests of one file: empty at first, and without keys."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Settings(
        home=tmp_path_factory.mktemp("studio"),
        port=port,
        disk_floor_bytes=0,
        checkpoint_seconds=0.2,
        redispatch_seconds=2,
        webhook_networks="127.0.0.0/8",
        threads=1,
    )
    with Stack(settings) as stack:
        running = Studio(stack, settings)
        yield running
        running.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; per file, since an event loop that runs on hinders other tests."""
    if not CHROMIUM.exists():
        if "CHROMIUM" in os.environ:
            pytest.fail(f"there is no browser {CHROMIUM}, which CHROMIUM names")
        pytest.skip("no Chromium here (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        yield launched
        launched.close()


@pytest.fixture
def watch(studio: Studio) -> Iterator[Watch]:
    """Watches the test's pages, and fails it at its end for what they did wrong."""
    made = Watch(studio.url)
    yield made
    assert not made.faults(), "\n".join(made.faults())


@pytest.fixture
def new_page(studio: Studio, browser: Browser, watch: Watch) -> Iterator[Callable[..., Page]]:
    """Open a browser profile of its own; with a key, one that has logged in with it."""
    contexts: list[BrowserContext] = []

    def make(
        *, key: str | None = None, width: int = 1280, height: int = 900, theme: str = "light"
    ) -> Page:
        context = browser.new_context(
            base_url=studio.url,
            viewport={"width": width, "height": height},
            color_scheme=theme,  # type: ignore[arg-type]
            locale="en-GB",
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        watch.over(context)
        if key is not None:
            answer = context.request.post(
                "/v1/session", data={"api_key": key}, headers={"Origin": studio.url}
            )
            assert answer.status == 201, answer.text()
        return context.new_page()

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    """A tab of a fresh browser profile, 1280 px wide, in light colours."""
    return new_page()
