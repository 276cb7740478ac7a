"""Losses in the browser: the list, the views of one, and the playground on a trained one."""

import re
from hashlib import sha256
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch
from tests.browser.studio import PHOTO, Studio

# The process that computes starts with the first look.
FIRST_LOOK = 120_000


def loss_id(studio: Studio) -> str:
    return str(studio.trained().loss_id)


def value(page: Page) -> float:
    """The loss's value, as the page tells it."""
    figures = page.locator(".figures dd").first
    expect(figures).not_to_have_text("—", timeout=FIRST_LOOK)
    expect(page.get_by_text("Looking …")).to_have_count(0)
    return float(figures.inner_text())


def test_an_empty_list_says_what_to_do_and_takes_a_file(
    studio: Studio, page: Page, watch: Watch, tmp_path: Path
) -> None:
    page.goto("/losses")
    expect(page.get_by_text("There is no loss yet.")).to_be_visible()
    watch.allow("422")
    wrong = tmp_path / "notes.pth"
    wrong.write_bytes(b"no loss at all")
    chooser = page.locator("input[type=file]")
    chooser.set_input_files(wrong)
    expect(page.get_by_role("alert").filter(has_text="not a loss")).to_be_visible(
        timeout=FIRST_LOOK
    )
    own = tmp_path / "own.safetensors"
    studio.client.losses.download(loss_id(studio), own)
    chooser.set_input_files(own)
    page.wait_for_url(re.compile(r"/losses/loss_\w+$"))
    expect(page.get_by_role("heading", name="own", level=1)).to_be_visible()
    expect(page.get_by_text("imported from a file")).to_be_visible()


def test_a_loss_is_described_and_downloaded(studio: Studio, page: Page) -> None:
    loss = studio.client.losses.get(loss_id(studio))
    page.goto("/losses")
    page.get_by_role("link", name="astronaut", exact=True).click()
    expect(page.get_by_text("4 steps at each scale")).to_be_visible()
    expect(page.get_by_text("4 · 4 channels, coarsest scale first")).to_be_visible()
    expect(page.get_by_alt_text("one column for each scale")).to_be_visible()
    for file in loss.files:
        with page.expect_download() as download:
            page.get_by_role("link", name=f"Download {file.format}").click()
        content = Path(download.value.path()).read_bytes()
        assert sha256(content).hexdigest() == file.sha256
        assert download.value.suggested_filename == f"astronaut.{file.format}"


def test_a_loss_is_renamed_and_deleted(studio: Studio, page: Page, tmp_path: Path) -> None:
    file = tmp_path / "copy.safetensors"
    studio.client.losses.download(loss_id(studio), file)
    copy = studio.client.losses.import_file(file)
    page.goto(f"/losses/{copy.id}")
    page.get_by_label("Name").fill("another name")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", name="another name")).to_be_visible()
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    page.wait_for_url("**/losses")
    expect(page.get_by_role("link", name="another name")).to_have_count(0)


def test_code_to_paste_names_the_loss_and_this_service(studio: Studio, page: Page) -> None:
    page.goto(f"/losses/{loss_id(studio)}?view=use")
    command = page.get_by_label("command that downloads it", exact=True)
    expect(command).to_contain_text(
        f"mdf losses get {loss_id(studio)} --out astronaut.safetensors --url {studio.url}"
    )
    expect(page.get_by_label("use of the pt2 file", exact=True)).to_contain_text("astronaut.pt2")
    expect(page.get_by_role("button", name="Copy training loop in PyTorch")).to_be_visible()


def test_the_playground_shows_values_maps_and_pushes_and_survives_a_reload(
    studio: Studio, page: Page
) -> None:
    page.goto(f"/losses/{loss_id(studio)}?view=playground")
    at_first = value(page)
    assert at_first > 0
    strength = page.get_by_label("From the low to the high end")
    strength.fill("1")  # better quality
    page.wait_for_url(re.compile(r"position=1\b"))
    expect(page.locator(".figures dd").first).not_to_have_text(f"{at_first}")
    finer = value(page)
    assert finer < at_first
    cell = page.get_by_title("map of scale 2, tap head")
    cell.click()
    expect(cell).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text("scale 2, tap head. A number")).to_be_visible()
    page.get_by_role("button", name="Push, direction").click()
    expect(page.get_by_text("Which way descent on the loss changes")).to_be_visible()
    expect(page.get_by_text(re.compile("^brighter, "))).to_be_visible()
    page.reload()
    assert value(page) == finer


def test_images_of_two_sizes_are_refused_in_words(studio: Studio, page: Page) -> None:
    other = studio.upload(np.ascontiguousarray(PHOTO[:64]), name="other.png")
    page.goto(f"/losses/{loss_id(studio)}?view=playground&image={other}")
    expect(page.get_by_role("alert").filter(has_text="images of one size")).to_be_visible(
        timeout=FIRST_LOOK
    )


def test_a_descent_runs_stops_and_begins_anew(studio: Studio, page: Page) -> None:
    page.goto(f"/losses/{loss_id(studio)}?view=playground")
    value(page)
    page.get_by_role("button", name="Start").click()
    told = page.locator(".track figcaption").first
    expect(told).to_contain_text(re.compile(r"step [1-9]\d+: value"), timeout=FIRST_LOOK)
    assert "data:image/png" in str(page.locator(".track img").first.get_attribute("src"))
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Go on")).to_be_enabled()
    stopped = told.inner_text()
    page.wait_for_timeout(1500)
    assert told.inner_text() == stopped
    page.get_by_role("button", name="Reset").click()
    expect(page.locator(".track")).to_have_count(0)
    expect(page.get_by_role("button", name="Start")).to_be_enabled()
