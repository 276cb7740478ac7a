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

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.studio import FLAGS, Studio, running

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
PATIENCE = 60_000  # milliseconds that a page may take where a test waits for something

expect.set_options(timeout=PATIENCE)


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


@pytest.fixture(scope="module")
def studio(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A service for the tests of one file: empty at first, and without keys.

    Asks for the browser, so that nothing is started where there is none.
    """
    with running(tmp_path_factory.mktemp("studio")) as service:
        yield service


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
