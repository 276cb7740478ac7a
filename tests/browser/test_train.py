"""The Train page: what it says before a training begins, and that one begins."""

import re
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from skimage import data

SMALL = np.ascontiguousarray(data.astronaut()[200:250, 200:270])


@pytest.fixture
def seeds(studio: Any) -> dict[str, str]:
    """Ids of images, by name."""
    return {
        "small.png": studio.upload(SMALL, name="small.png"),
        "astronaut.png": studio.upload(),
    }


def test_from_a_seed_to_its_run(studio: Any, page: Page, seeds: dict[str, str]) -> None:
    page.goto(f"/train?image={seeds['astronaut.png']}")
    expect(page.get_by_label("astronaut.png")).to_be_checked()
    expect(page.get_by_role("definition").first).to_have_text(re.compile(r"\d (s|min|h)$"))
    page.get_by_text("Recipe: as the preset quick").click()
    for label, value in {"Scales": "2", "Iterations": "4", "Width": "4"}.items():
        page.get_by_label(label, exact=True).fill(value)
    expect(page.get_by_text("3 changed: scales, width, iterations")).to_be_visible()
    page.get_by_label("Name").fill("from the page")
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_url(re.compile(r"/runs/job_"))
    job = studio.client.jobs.get(page.url.rpartition("/")[2])
    assert job.name == "from the page"
    assert job.spec["recipe"]["iterations"] == 4
    assert job.spec["task"] == {"kind": "jpeg", "quality": [7, 10]}


def test_a_seed_that_is_too_small_has_ways_out(page: Page, seeds: dict[str, str]) -> None:
    page.goto(f"/train?image={seeds['small.png']}&preset=paper")
    advice = page.get_by_role("alert").filter(has_text="too small")
    expect(advice).to_contain_text("small.png: the seed of 70×50 px is too small")
    train = page.get_by_role("button", name="Train", exact=True)
    expect(train).to_be_disabled()
    page.get_by_role("button", name="Use factor auto").press("Enter")
    expect(advice).to_be_hidden()
    expect(train).to_be_enabled()
    expect(page.get_by_text("Recipe: as the preset paper, 1 changed: factor")).to_be_visible()


def test_a_fault_in_the_recipe_stands_beside_its_field(page: Page, seeds: dict[str, str]) -> None:
    page.goto(f"/train?image={seeds['astronaut.png']}")
    page.get_by_text("Recipe: as the preset quick").click()
    width = page.get_by_label("Width", exact=True)
    width.fill("900")
    expect(page.get_by_text("must be less than or equal to 256")).to_be_visible()
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Put Width back to 16").click()
    expect(width).to_have_value("16")
    expect(width).to_be_focused()
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_enabled()


@pytest.mark.parametrize("event", ["input", "focusout"])
def test_what_is_typed_while_another_preset_comes_is_kept(
    page: Page, seeds: dict[str, str], event: str
) -> None:
    page.goto(f"/train?image={seeds['astronaut.png']}")
    page.get_by_text("Recipe: as the preset quick").click()
    width = page.get_by_label("Width", exact=True)
    expect(width).to_have_value("16")
    # In one go, before the server can have heard of the preset.
    width.evaluate(
        """(width, last) => {
          document.querySelector("input[value=paper]").click();
          width.value = "24";
          for (const each of new Set(["input", last])) {
            width.dispatchEvent(new Event(each, {bubbles: true}));
          }
        }""",
        event,
    )
    expect(page.get_by_text("Recipe: as the preset paper, 1 changed: width")).to_be_visible()
    expect(width).to_have_value("24")
    expect(page.get_by_label("Scales", exact=True)).to_have_value("8")
    page.wait_for_url(re.compile(r"preset=paper&recipe=%7B%22width%22%3A\+24%7D"))


def test_a_reload_keeps_what_was_chosen(page: Page, seeds: dict[str, str]) -> None:
    page.goto(f"/train?image={seeds['small.png']}")
    page.get_by_label("astronaut.png").check()
    page.get_by_label("small.png").uncheck()
    page.get_by_role("radio", name=re.compile("^Published")).check()
    page.get_by_role("radio", name=re.compile("^Denoising")).check()
    page.get_by_label("Name").fill("kept")
    page.get_by_label("Deadline").fill("2031-05-06T07:08")
    page.wait_for_url(re.compile(r"deadline=2031"))
    page.reload()
    expect(page.get_by_label("astronaut.png")).to_be_checked()
    expect(page.get_by_label("small.png")).not_to_be_checked()
    expect(page.get_by_role("radio", name=re.compile("^Published"))).to_be_checked()
    expect(page.get_by_role("radio", name=re.compile("^Denoising"))).to_be_checked()
    expect(page.get_by_label("Name")).to_have_value("kept")
    expect(page.get_by_label("Deadline")).to_have_value("2031-05-06T07:08")


def test_the_same_training_is_found_again(studio: Any, page: Page) -> None:
    job = studio.trained()
    recipe = '{"scales":2,"iterations":4,"width":4,"max_size":48}'
    page.goto(f"/train?image={job.spec['seed_image_ids'][0]}&preset=quick&recipe={recipe}")
    expect(page.get_by_text("The same was trained before,")).to_be_visible()
    page.get_by_role("link", name="Open its loss").click()
    page.wait_for_url(re.compile(rf"/losses/{job.loss_id}"))
    page.go_back()
    page.get_by_text("The same by command line and REST").click()
    expect(page.get_by_label("the command", exact=True)).to_contain_text("--set iterations=4")
