"""Seed: the library, pyramids, what tasks do to an image, and seeds that are no photographs."""

import json
import re
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from skimage import data

from tests.browser.conftest import Watch
from tests.browser.studio import Studio, png

PHOTO = np.ascontiguousarray(data.astronaut()[:160, 100:300])


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def test_a_dropped_photograph_is_shown_with_its_pyramid(page: Page, watch: Watch) -> None:
    page.goto("/seed")
    expect(page.get_by_text("There is no image yet")).to_be_visible()
    photograph = {"name": "me.png", "mimeType": "image/png", "buffer": png(PHOTO)}
    page.get_by_label("Drop a photograph here, or choose one").set_input_files(photograph)
    expect(page.get_by_role("heading", name="me.png")).to_be_visible()
    expect(page.get_by_text(re.compile("200×160 px, .* kB"))).to_be_visible()
    # Eight scales by halves are too much for it; the way out is one press away.
    advice = page.get_by_role("status").filter(has_text="cannot be trained")
    expect(advice).to_contain_text("Scales 1 to 4 cannot be trained.")
    advice.get_by_role("button", name="Show it with factor auto").click()
    expect(advice).to_have_count(0)
    scales = page.get_by_role("list", name="Scales, coarsest first").get_by_role("listitem")
    expect(scales).to_have_count(8)
    expect(scales.first).to_contain_text("31×25 px")
    expect(scales.last).to_contain_text("200×160 px")
    watch.allow("Failed to load resource")
    wrong = {"name": "me.txt", "mimeType": "image/png", "buffer": b"hello"}
    page.get_by_label("Drop a photograph here, or choose one").set_input_files(wrong)
    expect(page.get_by_role("alert")).to_contain_text("not an image that the service knows")


def test_a_pasted_picture_is_taken(studio: Studio, page: Page) -> None:
    page.goto("/seed")
    page.get_by_label("Drop a photograph here, or choose one").wait_for(state="attached")
    page.evaluate(
        """async (bytes) => {
          const files = new DataTransfer();
          files.items.add(new File([new Uint8Array(bytes)], "pasted.png", {type: "image/png"}));
          document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: files}));
        }""",
        list(png(PHOTO[::-1])),
    )
    expect(page.get_by_role("heading", name="pasted.png")).to_be_visible()


def test_a_task_is_looked_at_before_it_is_trained(studio: Studio, page: Page) -> None:
    image_id = studio.upload(PHOTO, name="me.png")
    page.goto(f"/seed?image={image_id}")
    with page.expect_response(re.compile("/distorted")) as answer:
        page.get_by_label("JPEG restoration").check()
    assert answer.value.status == 200
    strength = page.get_by_label("Shown within the ranges")
    strength.focus()
    with page.expect_response(re.compile(r"/distorted.*position=0\.0")):
        page.keyboard.press("Home")
    expect(page.get_by_text("Quality 7", exact=True)).to_be_visible()
    low = page.get_by_label("JPEG restoration, Quality from, as a number")
    low.fill("0")
    expect(page.get_by_role("alert").filter(has_text="Quality must be")).to_be_visible()
    low.fill("3")
    expect(page.get_by_text("Quality 3", exact=True)).to_be_visible()
    page.get_by_label("Your own").check()
    page.get_by_label("Add a step").select_option("motion_blur")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("button", name="Earlier: step 2, Motion blur").click()
    expect(page.get_by_role("heading", name="1. Motion blur")).to_be_visible()
    expect(page.get_by_text("Length 5.00, Angle 0, σ 0")).to_be_visible()
    page.wait_for_url(re.compile("motion_blur.*gaussian_noise"))
    page.reload()  # all of it stands in the address
    expect(page.get_by_role("heading", name="1. Motion blur")).to_be_visible()
    task = json.loads(query(page)["task"])
    assert [step["kind"] for step in task["distortions"]] == ["motion_blur", "gaussian_noise"]
    train = page.get_by_role("link", name="Train on this image")
    there = parse_qs(urlsplit(train.get_attribute("href") or "").query)
    assert there["image"] == [image_id]
    assert json.loads(there["task"][0]) == task


def test_a_synthetic_seed_is_made_and_deleted(studio: Studio, page: Page) -> None:
    page.goto("/seed")
    page.get_by_label("Kind").select_option("contrast-rings")
    expect(page.get_by_label("Period")).to_be_visible()
    page.get_by_label("Width", exact=True).fill("64")
    page.get_by_label("Height", exact=True).fill("48")
    page.get_by_role("button", name="Make this seed").click()
    expect(page.get_by_role("heading", name="contrast-rings")).to_be_visible()
    expect(page.get_by_text(re.compile("64×48 px, .* kB"))).to_be_visible()
    made = query(page)["image"]
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    page.wait_for_url("**/seed")
    assert made not in {image.id for image in studio.client.images.list()}


def test_an_image_in_use_stays_and_says_why(studio: Studio, page: Page) -> None:
    job = studio.train(iterations=100_000)
    try:
        page.goto(f"/seed?image={job.spec['seed_image_ids'][0]}")
        page.get_by_role("button", name="Delete …").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
        expect(page.get_by_role("alert").filter(has_text="is used by job")).to_be_visible()
    finally:
        studio.client.jobs.cancel(job.id)


@pytest.mark.parametrize("address", ["/seed?image=img_unknown", "/seed?task=nonsense"])
def test_an_address_that_leads_nowhere_says_so(page: Page, watch: Watch, address: str) -> None:
    watch.allow("Failed to load resource")
    page.goto(address)
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("This"))


def test_what_is_chosen_just_before_the_click_is_trained(studio: Studio, page: Page) -> None:
    page.goto(f"/seed?image={studio.upload()}")
    chosen = [
        page.get_by_label(label).element_handle()
        for label in ("Super-resolution", "JPEG restoration")
    ]
    page.get_by_role("link", name="Train on this image").evaluate(
        "(link, chosen) => { chosen.forEach((each) => each.click()); link.click(); }", chosen
    )
    page.wait_for_url(re.compile("/train"))
    assert json.loads(query(page)["task"])["kind"] == "jpeg"
