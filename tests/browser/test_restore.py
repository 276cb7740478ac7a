"""Restoring on a page: drop an image, choose models, compare, measure."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.studio import PHOTO, Studio, png


@pytest.fixture(scope="module")
def model(studio: Studio) -> str:
    """A denoiser."""
    made = studio.restorer().model_id
    assert made is not None
    return made


def test_a_clean_image_is_degraded_restored_and_measured(page: Page, model: str) -> None:
    page.goto(f"/restore?model={model}")
    photo = {"name": "clean.png", "mimeType": "image/png", "buffer": png()}
    page.locator(".drop-zone input").set_input_files([photo])
    expect(page.get_by_role("link", name="Download the result of denoiser")).to_be_visible()
    page.get_by_role("button", name="Degrade it as in the training of denoiser").click()
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="denoiser"))
    expect(row).to_contain_text("dB")
    expect(row).to_contain_text("done in")
    before = page.get_by_role("row", name="Input").inner_text()
    page.reload()  # the address has it all
    expect(row).to_contain_text("dB")
    assert page.get_by_role("row", name="Input").inner_text() == before
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the result of denoiser").click()
    assert download.value.suggested_filename == "clean, degraded-denoiser.png"


def test_what_takes_long_is_done_by_a_job_that_a_reload_finds(
    studio: Studio, page: Page, model: str
) -> None:
    def without_waiting(route: Route) -> None:
        kept = {name: of for name, of in route.request.headers.items() if name != "prefer"}
        route.continue_(headers=kept)

    page.route("**/restore?format=png", without_waiting)
    image_id = studio.upload(PHOTO[:80], name="slow.png")
    page.goto(f"/restore?model={model}&image={image_id}")
    page.wait_for_url("**job=*")
    page.reload()
    expect(page.get_by_text("done in")).to_be_visible()
    result = page.get_by_role("link", name="Download the result of denoiser")
    expect(result).to_have_attribute("href", re.compile("/v1/jobs/job_.*/artifacts/restored"))
    jobs = [job for job in studio.client.jobs.list() if job.type == "restoration"]
    assert len(jobs) == 1


def test_several_images_become_one_job(studio: Studio, page: Page, model: str) -> None:
    first = studio.upload(PHOTO[:64], name="first.png")
    second = studio.upload(PHOTO[32:], name="second.png")
    page.goto(f"/restore?model={model}&image={first}&image={second}")
    page.get_by_role("button", name="Restore all with denoiser").click()
    page.wait_for_url("**/runs/job_*")
    job = studio.wait(studio.client.jobs.get(page.url.rpartition("/")[2]))
    assert job.type == "restoration"
