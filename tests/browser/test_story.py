"""The story, as a person goes through it: from the first visit to a loss that programs load."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import mdf
from tests.browser.conftest import Watch
from tests.browser.studio import PHOTO, Studio, png

pytestmark = pytest.mark.slow

PHOTOGRAPH = {"name": "anna.png", "mimeType": "image/png", "buffer": png()}
# A process that loads torch takes its time, on a machine where others work too.
LONG = 300_000


def test_from_the_first_visit_to_a_downloaded_loss(
    studio: Studio, page: Page, watch: Watch, tmp_path: Path
) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Train your first loss")
    drop = page.get_by_label("Drop a photograph here, or choose one")

    watch.allow("status of 422")
    drop.set_input_files(
        {"name": "notes.png", "mimeType": "image/png", "buffer": b"Dear diary, today I was text."}
    )
    expect(page.get_by_role("alert").filter(has_text="not an image")).to_be_visible()

    drop.set_input_files(PHOTOGRAPH)
    expect(page.get_by_role("img", name="The chosen photograph, anna.png")).to_be_visible()

    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Seed").click()
    expect(page.get_by_role("heading", name="anna.png")).to_be_visible()
    page.get_by_label("JPEG restoration").check()
    page.get_by_role("link", name="Train on this image").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Train")
    expect(page.get_by_role("radio", name="JPEG restoration")).to_be_checked()
    page.get_by_role("radio", name=re.compile("^Quick")).check()
    page.locator("summary").filter(has_text="Recipe: as the preset quick").click()
    for name, value in (("Scales", 3), ("Iterations", 1200), ("Width", 4), ("Max size", 48)):
        page.get_by_role("spinbutton", name=name, exact=True).fill(str(value))
    page.get_by_role("textbox", name="Name").fill("anna, JPEG")
    page.get_by_role("button", name="Train", exact=True).click()

    page.wait_for_url("**/runs/job_*")
    expect(page.get_by_role("heading", level=1)).to_have_text("anna, JPEG")
    main = page.get_by_role("main")
    expect(main).to_contain_text(re.compile("scale [23] of 3"), timeout=LONG)
    page.get_by_role("button", name="Finish here …").click()
    page.get_by_role("dialog").get_by_role("button", name="Finish here", exact=True).click()
    early = re.compile(r"Finished early\s*with [12] of 3 scales")
    expect(main).to_contain_text(early, timeout=LONG)
    page.get_by_role("link", name="Open the loss").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("anna, JPEG")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download safetensors").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    loss = mdf.load_loss(file)
    assert 1 <= len(loss.manifest.iterations) < 3
    assert loss.manifest.task == {"kind": "jpeg", "quality": [7, 10]}

    page.get_by_role("link", name="Playground").click()
    value = page.locator(".figures dd").first
    expect(value).not_to_have_text("—", timeout=LONG)
    assert float(value.inner_text()) > 0


def steps_done(page: Page, *, more_than: int = 0) -> int:
    """The iterations of all scales that the page tells of, once there are more than so many."""
    told = re.compile(r"scale (\d+) of \d+, iteration (\d+) of (\d+)")
    end = time.monotonic() + LONG / 1000
    while time.monotonic() < end:
        found = told.search(page.get_by_role("main").inner_text())
        if found is not None:
            scale, iteration, iterations = map(int, found.groups())
            done = (scale - 1) * iterations + iteration
            if done > more_than:
                return done
        page.wait_for_timeout(200)
    raise AssertionError(f"the page tells of no more than {more_than} steps")


def test_a_run_is_watched_in_two_tabs_through_a_reload_and_a_restart(
    studio: Studio, page: Page, watch: Watch
) -> None:
    watch.allow("ERR_CONNECTION", "ERR_INCOMPLETE", "WebSocket", "ERR_EMPTY_RESPONSE")
    job = studio.train(name="watched", scales=3, iterations=40_000)
    page.goto(f"/runs/{job.id}")
    other = page.context.new_page()
    other.goto(f"/runs/{job.id}")
    begun = [steps_done(tab) for tab in (page, other)]

    page.reload()
    assert steps_done(page, more_than=max(begun)) > 0

    before = steps_done(other)
    studio.kill_api()
    for tab in (page, other):  # which go on by themselves
        steps_done(tab, more_than=before + 50)

    page.get_by_role("button", name="Cancel …").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()
    for tab in (page, other):
        expect(tab.get_by_role("heading", level=1).locator("..")).to_contain_text("canceled")
    assert studio.client.jobs.wait(job.id, timeout=60).state == "canceled"


def test_an_image_is_restored_and_looked_at_with_the_slider(
    studio: Studio, page: Page, tmp_path: Path
) -> None:
    studio.restorer()
    noise = np.random.default_rng(0).normal(0, 25, PHOTO.shape)
    noisy = png(np.clip(PHOTO + noise, 0, 255).astype(np.uint8))
    page.goto("/restore")
    page.get_by_label("Drop images here, or choose them").set_input_files(
        {"name": "noisy.png", "mimeType": "image/png", "buffer": noisy}
    )
    page.get_by_role("checkbox", name=re.compile("denoiser")).check()
    border = page.get_by_role("slider", name="Border between Input and denoiser")
    border.focus(timeout=LONG)
    before = border.get_attribute("aria-valuenow")
    page.keyboard.press("ArrowRight")
    expect(border).not_to_have_attribute("aria-valuenow", str(before))
    page.reload()
    expect(border).to_be_visible(timeout=LONG)
