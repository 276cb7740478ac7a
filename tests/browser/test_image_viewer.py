"""The image viewer, on the page of a data set and of restorations."""

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch
from tests.browser.studio import PHOTO, Studio, png


@pytest.fixture(scope="module")
def model(studio: Studio) -> str:
    """A denoiser."""
    made = studio.restorer().model_id
    assert made is not None
    return made


@pytest.fixture
def shown(studio: Studio, page: Page, model: str) -> Page:
    """A photograph of 128×96 px and what a model makes of it."""
    image_id = studio.upload()
    page.goto(f"/restore?model={model}&image={image_id}")
    expect(page.get_by_role("slider")).to_be_visible()
    return page


def test_the_border_between_two_images_moves_by_keys(shown: Page) -> None:
    border = shown.get_by_role("slider")
    border.focus()
    shown.keyboard.press("ArrowLeft")
    expect(border).to_have_attribute("aria-valuenow", "48")
    shown.keyboard.press("End")
    expect(border).to_have_attribute("aria-valuetext", "100 % Input")


def test_zoom_shows_pixels_and_their_colours(shown: Page) -> None:
    percent = shown.get_by_label("Zoom in percent")
    shown.get_by_role("button", name="1:1").click()
    expect(percent).to_have_text("100 %")
    shown.locator(".viewer-stage").focus()
    for _ in range(3):
        shown.keyboard.press("+")
    expect(percent).to_have_text("800 %")
    canvas = shown.locator(".viewer canvas")
    box = canvas.bounding_box()
    assert box is not None
    # A pixel to the left of the middle, and of the border.
    shown.mouse.move(box["x"] + box["width"] / 2 - 60, box["y"] + box["height"] / 2 + 4)
    column, row = 64 - 8, 48
    red, green, blue = PHOTO[row, column]
    values = shown.locator(".viewer-values")
    expect(values).to_contain_text(f"x {column}, y {row} px")
    expect(values).to_contain_text(f"Input {red}, {green}, {blue}")


def test_panes_side_by_side_move_together_and_differences_are_shown(shown: Page) -> None:
    shown.get_by_role("button", name="Side by side").click()
    expect(shown.locator(".viewer canvas")).to_have_count(2)
    shown.get_by_role("button", name="Difference").click()
    expect(shown.locator("figcaption")).to_contain_text("Absolute difference of Input and denoiser")


def test_images_of_other_sizes_are_said_to_be_scaled(
    studio: Studio, page: Page, model: str, watch: Watch
) -> None:
    watch.allow("status of 422")  # no number says how close images of two sizes are
    half = studio.upload(np.ascontiguousarray(PHOTO[::2, ::2]), name="half.png")
    whole = studio.upload()
    page.goto(f"/restore?model={model}&image={half}&reference={half}:{whole}")
    expect(page.locator(".viewer-remark")).to_contain_text("Input is shown ×2")


@pytest.mark.usefixtures("model")
def test_an_image_that_is_gone_is_left_out(studio: Studio, page: Page) -> None:
    gone = studio.client.images.upload(png(PHOTO[:40, :40]), name="gone.png").id
    page.goto(f"/restore?image={gone}")
    expect(page.locator("figcaption")).to_contain_text("Input, 40 × 40 px")
    studio.client.images.delete(gone)
    page.reload()
    expect(page.get_by_text("Choose an image above")).to_be_visible()
