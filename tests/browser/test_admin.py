"""The admin page: the first key, keys and their quotas, workers, storage, webhooks."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

import mdf.webhooks
from mdf.client import Client
from tests.browser.conftest import Watch
from tests.browser.studio import Studio

NewPage = Callable[..., Page]


@pytest.fixture
def keyless(studio: Studio) -> Iterator[Studio]:
    """The service without keys, at the end of the test too."""
    yield studio
    studio.forget_keys()


def test_the_first_key_is_made_here_and_the_browser_logs_in_with_it(
    keyless: Studio, page: Page
) -> None:
    page.goto("/admin")
    expect(page.get_by_role("heading", name="No key is needed yet")).to_be_visible()
    assert page.get_by_role("radio").count() == 1
    page.get_by_label("What it is for").fill("laptop")
    page.get_by_role("textbox", name="Owner").fill("an owner")
    page.get_by_role("button", name="Make the key").click()
    expect(page.get_by_role("alert")).to_contain_text("'an owner' cannot be an owner")
    expect(page.get_by_label("What it is for")).to_have_value("laptop")
    page.get_by_role("textbox", name="Owner").fill("anna")
    page.get_by_role("textbox", name="Owner").press("Enter")
    token = page.locator("code.token").inner_text()
    expect(page.get_by_role("heading", name="No key is needed yet")).to_be_hidden()
    expect(page.get_by_role("button", name="Make the key")).to_be_hidden()
    with Client(keyless.url, token) as client:
        assert (client.me().owner, client.me().scopes) == ("anna", ("admin",))
    page.get_by_role("button", name="Log in with this key").click()
    expect(page.get_by_role("banner")).to_contain_text("anna")
    keys = page.get_by_role("region", name="API keys")
    expect(keys).to_contain_text("laptop")
    expect(keys).not_to_contain_text(token)
    assert token not in page.content()


def test_a_key_is_made_with_quotas_changed_and_revoked(keyless: Studio, new_page: NewPage) -> None:
    page = new_page(key=keyless.make_key("root", "admin"))
    page.goto("/admin?view=keys")
    page.get_by_label("What it is for").fill("<b>ci</b>")
    page.get_by_role("textbox", name="Owner").fill("ci")
    page.get_by_label("read: look").check()
    page.get_by_text("Quotas of its own").click()
    page.get_by_label("Stored, GB").fill("1.5")
    page.get_by_label("Jobs in the queue").fill("0")
    page.get_by_role("button", name="Make the key").click()
    with Client(keyless.url, page.locator("code.token").inner_text()) as client:
        me = client.me()
        assert (me.owner, me.scopes) == ("ci", ("read",))
        assert (me.quotas.stored_bytes, me.quotas.queued_jobs) == (1_500_000_000, 0)
        assert me.quotas.running_jobs is None
        page.get_by_role("link", name="Show all keys").click()
        row = page.get_by_role("row", name="<b>ci</b>")
        expect(row).to_contain_text("1.5 GB stored, 0 jobs queued")
        expect(row).to_contain_text("just now")
        row.get_by_role("link").click()
        page.get_by_label("Stored, GB").fill("")
        page.get_by_label("Jobs that run at once").fill("3")
        page.get_by_role("button", name="Change").click()
        expect(page.get_by_text("it holds from the key's next request on")).to_be_visible()
        assert (client.me().quotas.stored_bytes, client.me().quotas.running_jobs) == (None, 3)
        page.get_by_role("button", name="Revoke …").click()
        page.get_by_role("button", name="Keep it as it is").click()
        assert client.me().owner == "ci"
        page.get_by_role("button", name="Revoke …").click()
        page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
        expect(page.get_by_role("definition").filter(has_text="revoked")).to_be_visible()
        with pytest.raises(mdf.errors.ApiError, match="revoked"):
            client.me()


def test_the_last_administrator_stays(keyless: Studio, new_page: NewPage) -> None:
    page = new_page(key=keyless.make_key("root", "admin"))
    keyless.make_key("bert", "read")
    page.goto("/admin?view=keys")
    page.get_by_role("row", name="root's").first.get_by_role("link").click()
    page.get_by_role("button", name="Revoke …").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("the last key with the scope admin")


def test_workers_are_shown_with_what_they_do(studio: Studio, page: Page) -> None:
    page.goto("/admin?view=workers")
    expect(page.get_by_text("2 worker slots, 0 at work.")).to_be_visible()
    expect(page.get_by_role("progressbar", name="Memory of the host").first).to_be_visible()
    job = studio.train(name="a long one", iterations=100_000)
    expect(page.get_by_text("2 worker slots, 1 at work.")).to_be_visible()
    expect(page.get_by_role("link", name="a long one")).to_have_attribute("href", f"/runs/{job.id}")
    studio.client.jobs.cancel(job.id)
    expect(page.get_by_text("2 worker slots, 0 at work.")).to_be_visible()
    expect(page.get_by_role("link", name="a long one")).to_have_count(0)


def test_use_and_storage_are_told_with_their_units(studio: Studio, page: Page) -> None:
    studio.trained()
    page.goto("/admin?view=usage")
    owners = page.get_by_role("region", name="What owners have")
    expect(owners.get_by_role("row", name="local")).to_contain_text("kB")
    expect(page.get_by_role("row", name="MDF_QUEUED_JOBS")).to_contain_text("1\u202f000 jobs")
    page.goto("/admin?view=storage")
    kinds = page.get_by_role("region", name="Objects by kind")
    expect(kinds.get_by_role("row", name="Losses")).to_contain_text("1")
    expect(page.get_by_text("are free on the disk")).to_be_visible()
    expect(page.get_by_role("row", name="database")).to_be_visible()
    page.get_by_role("button", name="Free what nobody needs …").click()
    page.get_by_role("button", name="Free it").click()
    expect(page.get_by_text("0 B freed.")).to_be_visible()


def test_a_webhook_is_made_tried_and_looked_after(
    studio: Studio, page: Page, receive: Callable[..., object]
) -> None:
    receiver = receive(500)
    page.goto("/admin?view=webhooks")
    page.get_by_label("Address").fill("http://10.0.0.1/hook")
    page.get_by_role("button", name="Make the webhook").click()
    expect(page.get_by_role("alert")).to_contain_text("a network that may not be called")
    page.get_by_label("Address").fill(receiver.url)
    page.get_by_label("What it is for").fill("ci")
    page.get_by_label("job.canceled").uncheck()
    page.get_by_role("button", name="Make the webhook").click()
    secret = page.locator("code.token").inner_text()
    page.get_by_role("link", name="Send it a test message").click()
    expect(page.get_by_role("definition").filter(has_text="job.succeeded")).not_to_contain_text(
        "job.canceled"
    )
    page.get_by_role("button", name="Send a test message").click()
    sent = page.get_by_role("row", name="webhook.ping")
    expect(sent).to_contain_text("failed")
    receiver.answer = lambda handler: (
        handler.send_response(204),
        handler.send_header("Content-Length", "0"),
        handler.end_headers(),
    )
    sent.get_by_role("button", name="Send webhook.ping again").click()
    expect(sent).to_contain_text("delivered")
    message = receiver.received[-1]
    assert mdf.webhooks.verify(secret, message.headers, message.body).type == "webhook.ping"
    page.get_by_role("button", name="New secret …").click()
    page.get_by_role("dialog").get_by_role("button", name="Make it").click()
    expect(page.locator("code.token")).not_to_have_text(secret)
    page.get_by_label("enabled").uncheck()
    page.get_by_role("button", name="Change").click()
    expect(page.get_by_text("disabled on request")).to_be_visible()
    expect(page.get_by_role("button", name="Send a test message")).to_have_count(0)
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("Nobody is told yet when jobs end.")).to_be_visible()


def test_what_there_is_not_is_told_in_words(studio: Studio, page: Page, watch: Watch) -> None:
    watch.allow("status of 404")
    for place in ("view=nothing", "view=keys&of=key_0", "view=webhooks&of=hook_0"):
        answer = page.goto(f"/admin?{place}")
        assert answer is not None
        assert answer.status == 404
        expect(page.get_by_role("heading", level=1)).to_have_text("This is not there")
