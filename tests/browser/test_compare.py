"""Comparisons: chosen in a form, watched, and looked at from all sides."""

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from api.studio.elements.plane import apart
from api.studio.elements.violin import Axis, density, outline, tick_words
from tests.browser.studio import Studio


@pytest.fixture
def models(studio: Studio, tmp_path: Path) -> list[str]:
    """The names of two models: one trained here, and one imported of its file."""
    model_id = str(studio.restorer().model_id)
    file = studio.client.models.download(model_id, tmp_path / "imported.safetensors")
    if len(studio.client.models.list()) < 2:
        studio.client.models.import_file(file, name="imported")
    return [each.name for each in studio.client.models.iterate()]


def test_where_there_is_nothing_it_says_what_to_do(studio: Studio, page: Page) -> None:
    page.goto("/compare")
    expect(page.get_by_text("Nothing was compared yet")).to_be_visible()
    way = page.get_by_role("link", name="Train a restorer")
    assert way.get_attribute("href") == "/restorers/train"


def test_a_comparison_is_asked_for_watched_and_looked_at(
    studio: Studio, page: Page, models: list[str]
) -> None:
    studio.dataset()
    page.goto("/compare")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("alert")).to_have_text("choose the restorers to compare, one or more")
    for name in models:
        page.get_by_label(f"{name}: DnCNN").check()
    page.get_by_label("L1", exact=True).check()
    page.get_by_label("Name").fill("which is it?")
    page.get_by_role("button", name="Compare").click()
    # It is under way first, then in the list.
    page.get_by_role("table").get_by_role("link", name="which is it?").click(timeout=90_000)

    expect(page.get_by_role("heading", level=1, name="which is it?")).to_be_visible()
    scores = page.get_by_role("region", name="Scores", exact=True)
    expect(scores.get_by_text("best")).to_have_count(3)
    expect(scores.get_by_role("columnheader", name="PSNR, dB")).to_have_attribute(
        "aria-sort", "descending"
    )
    scores.get_by_role("button", name="L1").click()
    expect(scores.get_by_role("columnheader", name="L1")).to_have_attribute(
        "aria-sort", "ascending"
    )
    expect(page.get_by_role("img", name="imported, PSNR, dB: mean")).to_be_visible()

    # A point leads to its images, by keyboard too.
    page.get_by_role("button", name="imported: PSNR, dB").focus()
    page.keyboard.press("Enter")
    restored_by = page.get_by_label("Restored by")
    chosen = restored_by.locator("option:checked")
    expect(chosen).to_contain_text("imported")
    expect(restored_by).to_be_in_viewport()
    page.get_by_role("button", name="Degraded input: PSNR, dB").click()
    expect(chosen).to_contain_text("Degraded input")
    page.wait_for_url(lambda address: "candidate=model_" not in address)
    page.reload()
    expect(chosen).to_contain_text("Degraded input")
    expect(scores.get_by_role("columnheader", name="L1")).to_have_attribute(
        "aria-sort", "ascending"
    )


def test_axes_are_chosen_and_stay(studio: Studio, page: Page) -> None:
    evaluation_id = studio.evaluation().evaluation_id
    page.goto(f"/compare/{evaluation_id}")
    page.get_by_label("Across").select_option(label="SSIM")
    expect(page.get_by_role("button", name="Degraded input: SSIM")).to_be_visible()
    page.wait_for_url(re.compile("x=ssim"))
    page.reload()
    expect(page.get_by_label("Across").locator("option:checked")).to_have_text("SSIM")


def test_an_unknown_one_is_not_there(page: Page, watch) -> None:
    watch.allow("404")
    page.goto("/compare/eval_0")
    expect(page.get_by_role("heading", name="This is not there")).to_be_visible()


def test_a_density_is_high_where_values_are_many() -> None:
    values = np.array([1.0, 1.1, 0.9, 1.0, 3.0])
    heights = density(values, np.array([0.0, 1.0, 2.0, 3.0]))
    assert heights.argmax() == 1
    assert heights[3] > heights[2]
    assert density(np.array([2.0]), np.array([1.0, 2.0, 3.0])).tolist() == [0, 1, 0]


def test_better_is_to_the_right_whichever_way_a_metric_counts() -> None:
    rising, falling = Axis.over([0.0, 1.0], reverse=False), Axis.over([0.0, 1.0], reverse=True)
    assert rising.place(0.9) > rising.place(0.1)
    assert falling.place(0.9) < falling.place(0.1)
    assert outline(np.array([0.5]), rising).startswith("M")


def test_numbers_of_an_axis_tell_each_other_apart() -> None:
    for low, high in ((20.0, 30.0), (0.71, 0.73), (0.0001, 0.0002), (-5.0, 400.0)):
        said = tick_words(Axis.over([low, high], reverse=False))
        assert len(set(said)) == len(said) >= 3


def test_marks_of_equal_points_do_not_cover_each_other() -> None:
    moves = apart([(50.0, 50.0)] * 6)
    assert len(set(moves)) == 6
