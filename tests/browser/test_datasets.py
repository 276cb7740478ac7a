"""Data sets on pages: upload in parts, follow the import, look, delete."""

import zipfile
from pathlib import Path

from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Watch
from tests.browser.studio import PHOTO, png


def archive(folder: Path) -> Path:
    """Two photographs and a file that is none."""
    path = folder / "photos.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("one.png", png(PHOTO))
        packed.writestr("two.png", png(PHOTO[:64]))
        packed.writestr("notes.txt", b"no picture")
    return path


def test_an_upload_that_breaks_goes_on_and_becomes_a_data_set(
    page: Page, tmp_path: Path, watch: Watch
) -> None:
    watch.allow("ERR_FAILED")
    broken = False

    def break_once(route: Route) -> None:
        nonlocal broken
        if route.request.method == "PATCH" and not broken:
            broken = True
            route.abort()
        else:
            route.continue_()

    page.route("**/v1/datasets/*/content", break_once)
    page.goto("/datasets")
    page.locator(".archive-upload input[type=file]").set_input_files(archive(tmp_path))
    page.get_by_label("Name").fill("holiday")
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/datasets/ds_*")
    assert broken
    expect(page.get_by_text("Ready", exact=True).first).to_be_visible()
    expect(page.get_by_text("2 images").first).to_be_visible()
    page.get_by_role("button", name="Look at two.png").click()
    expect(page.locator("figcaption")).to_contain_text("two.png, 128 × 64 px")
    page.get_by_text("1 file not taken, and why").click()
    expect(page.get_by_role("row", name="notes.txt")).to_be_visible()


def test_a_broken_archive_is_told_and_deleted(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "broken.zip"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    page.goto("/datasets")
    page.locator(".archive-upload input[type=file]").set_input_files(path)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/datasets/ds_*")
    expect(page.get_by_text("Failed", exact=True)).to_be_visible()
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.wait_for_url("**/datasets")
    expect(page.get_by_text("broken.zip")).to_have_count(0)


def test_an_upload_that_was_left_goes_on_from_its_page(page: Page, tmp_path: Path) -> None:
    path = archive(tmp_path)
    source = {"kind": "upload", "size": path.stat().st_size}
    answer = page.request.post("/v1/datasets", data={"name": "left", "source": source})
    page.goto(f"/datasets/{answer.json()['id']}")
    page.locator(".archive-upload input[type=file]").set_input_files(
        {"name": "other.zip", "mimeType": "application/zip", "buffer": b"x"}
    )
    expect(page.get_by_role("alert")).to_contain_text("choose the same archive")
    page.locator(".archive-upload input[type=file]").set_input_files(path)
    page.get_by_role("button", name="Go on with the upload").click()
    expect(page.get_by_text("Ready", exact=True).first).to_be_visible()
