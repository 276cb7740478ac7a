"""Restorers on pages: train one, look at it, download it."""

import json
import re
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Page, expect

from tests.browser.studio import TINY_RESTORER, Studio


def test_a_restorer_is_trained_from_the_page(studio: Studio, page: Page) -> None:
    spec = {
        "dataset_id": studio.dataset().id,
        "preset": "quick-dncnn-denoising",
        "network": {"kind": "dncnn", "depth": 3, "width": 4},
        "recipe": TINY_RESTORER,
    }
    page.goto(f"/restorers/train?spec={quote(json.dumps(spec))}")
    page.get_by_label("Loss", exact=True).select_option(label="L1")
    expect(page.get_by_role("definition").first).to_contain_text(re.compile(r"\d (s|min)$"))
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_url("**/runs/job_*")
    job = studio.client.jobs.get(page.url.rpartition("/")[2])
    assert job.name == "DnCNN, L1, denoising, σ 0–55"
    assert job.spec["loss"] == {"kind": "l1"}
    assert job.spec["network"]["depth"] == 3
    studio.wait(job)


def test_parts_at_odds_are_told_before_they_are_submitted(studio: Studio, page: Page) -> None:
    studio.dataset()
    spec = {"preset": "quick-edsr-sisr", "task": {"kind": "sisr", "factor": 2}}
    page.goto(f"/restorers/train?spec={quote(json.dumps(spec))}")
    expect(page.locator(".training-end .problem")).to_contain_text("the network enlarges 4×")
    train = page.get_by_role("button", name="Train", exact=True)
    expect(train).to_be_disabled()
    page.get_by_role("combobox", name="Scale").select_option("2")
    expect(train).to_be_enabled()


def test_a_restorer_is_renamed_and_deleted(studio: Studio, page: Page, tmp_path: Path) -> None:
    model_id = studio.restorer().model_id
    assert model_id is not None
    file = tmp_path / "copy.safetensors"
    studio.client.models.download(model_id, file)
    copy = studio.client.models.import_file(file)
    page.goto(f"/restorers/{copy.id}")
    page.get_by_label("Name").fill("another name")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", name="another name")).to_be_visible()
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    page.wait_for_url("**/restorers")
    expect(page.get_by_role("link", name="another name")).to_have_count(0)


def test_a_model_has_figures_and_files(studio: Studio, page: Page) -> None:
    model_id = studio.restorer().model_id
    page.goto("/restorers")
    page.get_by_role("link", name="denoiser", exact=True).first.click()
    page.wait_for_url(f"**/{model_id}")
    expect(page.get_by_role("row", name="PSNR")).to_contain_text("dB")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download onnx").click()
    assert download.value.suggested_filename == "denoiser.onnx"
