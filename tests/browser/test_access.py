"""An installation with keys: who is let in, who is led to the login, and what owners see."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
from playwright.sync_api import Page, expect

from api.studio.page_connections import MOST_OPEN
from tests.api.test_studio import HTML, client_id, talk
from tests.browser.conftest import Watch
from tests.browser.studio import Studio

NewPage = Callable[..., Page]


@pytest.fixture
def keyed(studio: Studio, watch: Watch) -> Iterator[Studio]:
    """The service with an administrator's key in force; keys go with the test."""
    studio.make_key("root", "admin")
    watch.allow("status of 401")  # the login page asks whether the browser is known already
    yield studio
    studio.forget_keys()


def log_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Log in").click()


def test_a_browser_logs_in_lands_where_it_wanted_to_and_logs_out(keyed: Studio, page: Page) -> None:
    key = keyed.make_key("anna", "write")
    page.goto("/losses?order=name")
    expect(page).to_have_title("Log in · MDF studio")
    log_in(page, key[:-1] + ("a" if key[-1] != "a" else "b"))
    expect(page.get_by_role("alert")).to_have_text("the API key is unknown or has been revoked")
    expect(page.get_by_label("API key")).to_be_focused()
    log_in(page, f"  {key} ")
    expect(page).to_have_url(f"{keyed.url}/losses?order=name")
    expect(page.get_by_role("banner")).to_contain_text("anna")
    page.goto("/login?next=/runs")
    expect(page).to_have_url(f"{keyed.url}/runs")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("API key")).to_be_focused()
    page.goto("/runs")
    expect(page).to_have_title("Log in · MDF studio")


def test_where_no_key_is_needed_the_login_leads_on(
    studio: Studio, page: Page, watch: Watch
) -> None:
    watch.allow("status of 404")
    page.goto("/login?next=/runs")
    expect(page).to_have_url(f"{studio.url}/runs")


@pytest.mark.parametrize(
    "wanted", ["//evil.example/", "https://evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_the_login_leads_to_no_other_place(keyed: Studio, page: Page, wanted: str) -> None:
    page.goto(f"/login?next={wanted}")
    log_in(page, keyed.make_key("anna", "read"))
    expect(page).to_have_url(f"{keyed.url}/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_the_login_leads_to_no_other_place_by_a_path(
    keyed: Studio, page: Page, watch: Watch
) -> None:
    watch.allow("status of 404")
    page.goto("/login?next=/.//evil.example/")  # a URL here, whose path is one elsewhere
    log_in(page, keyed.make_key("anna", "read"))
    expect(page).to_have_url(f"{keyed.url}//evil.example/")
    expect(page.get_by_role("heading", level=1)).to_have_text("This is not there")


def test_an_open_page_of_a_revoked_key_leads_to_the_login(keyed: Studio, new_page: NewPage) -> None:
    page = new_page(key=keyed.make_key("anna", "admin"))
    page.goto("/admin?view=keys")
    name = page.get_by_label("What it is for")
    name.fill("one more")
    keyed.revoke("anna")
    page.get_by_role("button", name="Make the key").click()
    expect(page).to_have_title("Log in · MDF studio")
    log_in(page, keyed.make_key("anna", "admin"))
    expect(page).to_have_url(f"{keyed.url}/admin?view=keys")
    expect(page.get_by_role("table")).not_to_contain_text("one more")


def test_an_owner_sees_nothing_of_another_ones(
    studio: Studio, watch: Watch, new_page: NewPage
) -> None:
    job = studio.trained()
    image = studio.client.images.list()[0].id
    studio.make_key("root", "admin")
    root, bert = studio.make_key("root", "admin"), studio.make_key("bert", "write")
    own = new_page(key=root)
    own.goto("/runs")
    expect(own.get_by_role("main")).to_contain_text("astronaut")
    watch.allow("status of 404")
    page = new_page(key=bert)
    for path in ("/", "/runs", "/losses", "/datasets", "/restorers", "/restore", "/compare"):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert "astronaut" not in page.content(), path
        assert job.id not in page.content(), path
    for path in (f"/runs/{job.id}", f"/losses/{job.loss_id}"):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 404
        expect(page.get_by_role("heading", level=1)).to_have_text("This is not there")
    page.goto(f"/seed?image={image}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert "astronaut" not in page.content()
    assert page.get_by_role("link", name="Admin").count() == 0
    page.goto("/admin")
    expect(page.get_by_role("main")).to_contain_text("needs an API key with the scope admin")
    studio.forget_keys()


def test_a_page_of_another_origin_cannot_frame_the_studio(
    studio: Studio, page: Page, watch: Watch
) -> None:
    watch.allow("frame-ancestors", "status of 403", "chrome-error", "ERR_BLOCKED_BY_RESPONSE")
    page.goto("about:blank")
    page.set_content(f'<iframe src="{studio.url}/" title="framed"></iframe>')
    expect(page.frame_locator("iframe").get_by_role("heading", name="Home")).to_have_count(0)


def test_the_oldest_of_too_many_pages_says_that_it_was_closed(studio: Studio, page: Page) -> None:
    page.goto("/runs")
    page.wait_for_function("window.did_handshake")
    told = page.get_by_text("Too many pages are open: this one was closed.")
    with ExitStack() as others:
        for _ in range(MOST_OPEN):
            expect(told).to_be_hidden()
            newer = client_id(httpx.get(f"{studio.url}/", headers=HTML))
            others.enter_context(talk(studio.url, newer, Origin=studio.url))
        expect(told).to_be_visible()
        page.wait_for_timeout(3000)
        expect(told).to_be_visible()  # it does not come back to close another one
    page.reload()
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    expect(told).to_be_hidden()
