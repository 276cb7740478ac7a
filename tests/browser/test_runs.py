"""Runs: a training that is watched from its first step, steered, and found again."""

import re
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from services.database.schema import Job
from tests.browser.conftest import Watch
from tests.browser.studio import Studio, running

LONG = {"iterations": 50_000}  # until somebody stops it
STARTING = 90_000  # ms that torch may take to be there


def scale(page: Page, number: int) -> Locator:
    """The column of a scale."""
    return page.get_by_role("region", name=f"Scale {number}", exact=True)


def mark(page: Page) -> None:
    """What a page that is loaded again does not have."""
    page.evaluate("document.body.dataset.mark = 'the same page'")


def is_marked(page: Page) -> bool:
    """Whether the page has not been loaded again."""
    return bool(page.evaluate("document.body.dataset.mark === 'the same page'"))


def test_columns_fill_as_the_run_goes(page: Page, studio: Studio) -> None:
    job = studio.train(name="watched", iterations=6)
    page.goto(f"/runs/{job.id}")
    expect(page.get_by_role("heading", name="watched")).to_be_visible()
    expect(scale(page, 1)).to_contain_text("33 × 25 px, 4 channels")
    expect(scale(page, 2)).to_contain_text("48 × 36 px, 4 channels")
    mark(page)

    for number in (1, 2):
        column = scale(page, number)
        expect(column.get_by_text("done", exact=True)).to_be_visible(timeout=STARTING)
        for picture in ("the seed", "the generated image", "the discriminator's map"):
            image = column.get_by_role("img", name=re.compile(f"^{picture} of"))
            expect(image).not_to_have_js_property("naturalWidth", 0)
        chart = column.get_by_role("img", name="Reconstruction of scale")
        chart.scroll_into_view_if_needed()
        expect(chart.locator("canvas").first).to_be_visible()
        expect(chart).to_have_attribute("aria-label", re.compile(r"MSE now 0\.\d+"))
        slider = column.get_by_role("slider")
        slider.focus()
        slider.press("ArrowLeft")
        expect(slider).to_have_attribute("aria-valuetext", "4")

    link = page.get_by_role("link", name="Open the loss")
    expect(link).to_have_attribute("href", re.compile("^/losses/loss_"))
    expect(page.get_by_role("link", name="Download: Contact sheet")).to_be_visible()
    expect(page.get_by_text("Finished early")).to_be_hidden()
    seed = page.get_by_role("link", name="astronaut.png")
    expect(seed).to_have_attribute("href", f"/seed?image={job.spec['seed_image_ids'][0]}")
    log = page.get_by_role("log")
    expect(log).to_contain_text("succeeded")
    expect(log).not_to_contain_text("generated of scale 1")
    page.get_by_label("Steps and pictures, too").check()
    expect(log).to_contain_text("generated of scale 1, iteration 4")
    assert is_marked(page)


def test_a_run_is_steered_by_its_state(page: Page, studio: Studio) -> None:
    job = studio.train(name="steered", **LONG)
    page.goto(f"/runs/{job.id}")
    expect(scale(page, 1).get_by_text("training")).to_be_visible(timeout=STARTING)

    page.get_by_role("button", name="Rename …").click()
    name = page.get_by_role("textbox", name="Name")
    name.fill("")
    name.press_sequentially("<b>mine</b>", delay=150)  # while the page goes on changing
    name.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("<b>mine</b>")

    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".page-head .state")).to_have_text("paused")
    expect(scale(page, 1).get_by_text("paused")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".page-head .state")).to_have_text("running")

    page.get_by_role("button", name="Cancel …").click()
    question = page.get_by_role("dialog", name="Cancel this run?")
    expect(question).to_be_visible()
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    expect(page.get_by_role("button", name="Cancel …")).to_be_focused()
    page.keyboard.press("Enter")
    question.get_by_role("button", name="Cancel the run").click()
    expect(page.locator(".page-head .state")).to_have_text("canceled")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()

    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete the run").click()
    page.wait_for_url("**/runs")
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    expect(page.locator(f"a[href='/runs/{job.id}']")).to_have_count(0)


def test_a_page_comes_back_by_itself_when_the_server_does(
    page: Page, studio: Studio, watch: Watch
) -> None:
    watch.allow("WebSocket", "Failed to load resource")
    job = studio.train(name="lasting", **LONG)
    page.goto(f"/runs/{job.id}")
    state = scale(page, 1).locator(".scale-state")
    expect(state).to_contain_text("training", timeout=STARTING)
    mark(page)

    studio.kill_api()

    page.wait_for_function("document.body.dataset.mark === undefined", timeout=60_000)
    expect(state).to_contain_text("training", timeout=60_000)
    before = state.text_content() or ""
    expect(state).not_to_have_text(before)  # it is live again
    studio.client.jobs.cancel(job.id)
    expect(page.locator(".page-head .state")).to_have_text("canceled")


def test_a_failure_says_what_to_do(page: Page, studio: Studio) -> None:
    job = studio.train(name="doomed", **LONG)
    studio.client.jobs.cancel(job.id)
    studio.client.jobs.wait(job.id)
    error = {"code": "disk_full", "message": "the disk is full", "retryable": True}
    with studio.installation.database.write() as session:
        row = session.get_one(Job, job.id)
        row.state, row.error = "failed", error

    page.goto(f"/runs/{job.id}")

    told = page.get_by_role("alert").filter(has_text="the disk is full")
    expect(told).to_contain_text("Free some space, then retry")
    expect(told).to_contain_text("disk_full")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()


def test_no_run_is_taken_up_while_the_disk_is_full(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path) as service:
        job = service.train(name="doomed", **LONG)
        service.client.jobs.cancel(job.id)
        service.client.jobs.wait(job.id)
        error = {"code": "internal", "message": "it broke", "retryable": True}
        with service.installation.database.write() as session:
            row = session.get_one(Job, job.id)
            row.state, row.error = "failed", error

    with running(tmp_path, disk_floor_bytes=1 << 60) as service:
        page = browser.new_context(base_url=service.url).new_page()
        page.goto(f"/runs/{job.id}")
        page.get_by_role("button", name="Retry").click()
        expect(page.get_by_role("alert").filter(has_text="free")).to_contain_text("disk")
        expect(page.locator(".page-head .state")).to_have_text("failed")
        assert service.client.jobs.get(job.id).state == "failed"
        page.context.close()


def test_the_list_is_filtered_by_its_address(page: Page, studio: Studio) -> None:
    done = studio.trained()
    page.goto("/runs")
    row = page.get_by_role("row").filter(has_text=done.name)
    expect(row).to_contain_text("succeeded")
    expect(row.get_by_role("link", name="Open the loss")).to_be_visible()

    mark(page)
    page.get_by_label("State").select_option("queued")
    page.wait_for_url("**/runs?state=queued")
    expect(page.get_by_role("heading", name="Runs that match")).to_be_visible()
    expect(page.get_by_text("None.")).to_be_visible()
    page.get_by_label("State").select_option("succeeded")
    page.get_by_label("Kind").select_option("Loss training")
    page.wait_for_url("**/runs?state=succeeded&type=discriminator_training")
    expect(row.first).to_be_visible()
    assert is_marked(page)
    page.reload()
    expect(row.first).to_be_visible()
    expect(page.get_by_label("State")).to_have_value("succeeded")


def test_a_restorers_run_shows_its_pictures_over_time(page: Page, studio: Studio) -> None:
    job = studio.restorer()
    page.goto(f"/runs/{job.id}")

    expect(page.get_by_role("img", name="PSNR, dB over iteration")).to_be_visible()
    slider = page.get_by_role("slider", name="Iteration of validation image 1")
    slider.focus()
    slider.press("Home")
    restored = page.get_by_role("img", name="validation image 1, restored, after iteration 6")
    expect(restored.last).to_be_visible()
    expect(page.get_by_role("link", name="Open the restorer")).to_be_visible()
