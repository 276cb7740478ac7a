"""Home: a first start in three steps, and what runs, has ended and is stored."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.studio import Studio, png


def part(page: Page, title: str) -> Locator:
    """The panel of that title."""
    return page.locator("section").filter(has=page.get_by_role("heading", name=title))


def test_three_steps_train_a_first_loss(page: Page, studio: Studio) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="Train your first loss")).to_be_visible()
    expect(page.get_by_role("button", name="Quick try, minutes")).to_be_disabled()
    photograph = {"name": "me.png", "mimeType": "image/png", "buffer": png()}
    page.get_by_label("Drop a photograph here, or choose one").set_input_files(photograph)
    expect(page.get_by_role("img", name="The chosen photograph, me.png")).to_be_visible()
    page.get_by_label("JPEG restoration").check()
    page.wait_for_url(re.compile("jpeg"))
    takes = re.compile(r"Takes [\d.]+( s)? to [\d.]+ (s|min) here")
    expect(page.get_by_text(takes)).to_be_visible()
    page.reload()  # both choices stand in the address
    expect(page.get_by_label("JPEG restoration")).to_be_checked()
    expect(page.get_by_role("link", name="Full, as in the paper")).to_have_attribute(
        "href", re.compile(r"^/train\?image=img_.*preset=paper&recipe=.*auto")
    )
    page.get_by_role("button", name="Quick try, minutes").click()
    page.wait_for_url("**/runs/job_*")
    job = studio.client.jobs.get(page.url.rpartition("/")[2])
    assert job.spec["preset"] == "quick"
    assert job.spec["task"] == {"kind": "jpeg", "quality": [7, 10]}
    assert job.name == "me, JPEG restoration"
    studio.client.jobs.cancel(job.id)


def test_jobs_come_and_go_in_place(page: Page, studio: Studio) -> None:
    page.goto("/")
    running = part(page, "Running and waiting")
    ended = part(page, "Finished lately")
    expect(running).to_contain_text("Nothing runs and nothing waits.")
    page.evaluate("document.body.dataset.mark = 'the same page'")
    job = studio.train(name="live", iterations=3000)
    row = running.get_by_role("listitem").filter(has_text="live")
    expect(row).to_contain_text("scale 1 of 2, iteration", timeout=90_000)  # torch starts
    expect(row.get_by_role("progressbar", name="Progress of live")).to_be_visible()
    expect(row).to_contain_text(re.compile("on cpu of .*, slot 0"))
    studio.client.jobs.cancel(job.id)
    expect(ended.get_by_role("listitem").filter(has_text="live")).to_contain_text("canceled")
    expect(row).to_have_count(0)
    assert page.evaluate("document.body.dataset.mark") == "the same page"


def test_a_finished_training_leads_to_its_loss(page: Page, studio: Studio) -> None:
    job = studio.trained()
    page.goto("/")
    ended = part(page, "Finished lately").get_by_role("listitem").first
    expect(ended).to_contain_text("succeeded")
    expect(ended.locator("img")).to_have_js_property("complete", True)
    loss = ended.get_by_role("link", name="Open the loss")
    expect(loss).to_have_attribute("href", f"/losses/{job.loss_id}")


def test_workers_and_storage_are_told(page: Page, studio: Studio) -> None:
    studio.trained()
    page.goto("/")
    expect(part(page, "Workers")).to_contain_text("GB free")
    stored = part(page, "Storage")
    expect(stored).to_contain_text(re.compile(r"Free disk\s*[\d.]+ GB"))
    expect(stored).to_contain_text(re.compile(r"Losses\s*1 loss, "))
