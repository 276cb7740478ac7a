"""The card of a model."""

import pytest

from services.database.schema import Model
from services.installation import Installation
from services.restorers import catalogue
from services.restorers.card import write_card


def test_it_says_what_the_model_is_and_how_it_was_trained(
    installation: Installation, model: Model
) -> None:
    with installation.database.read() as session:
        card = write_card(model, catalogue.files(session, model.id))
    assert card.startswith("# denoiser\n")
    assert "DnCNN (Zhang et al. 2017) for denoising, σ 0 to 55 of 255, trained." in card
    assert f"mdf restore photograph.png --model {model.id}" in card
    assert "| psnr | 27.5 |" in card
    assert '| loss | {"kind": "l2"} |' in card
    assert "| data set (SHA-256) | unknown |" in card
    assert "| iterations | 100 |" in card
    assert f"`{model.sha256}`" in card


def test_a_name_is_no_markup(installation: Installation, model: Model) -> None:
    model.name = "a|b<script>[x](y)*"
    assert write_card(model, []).startswith("# a\\|b\\<script\\>\\[x\\](y)\\*\n")


def test_what_an_import_does_not_tell_is_unknown(installation: Installation, model: Model) -> None:
    model.manifest = model.manifest | {
        "origin": "imported",
        "task": {},
        "loss": {},
        "metrics": {},
        "iterations": 0,
    }
    card = write_card(model, [])
    assert "for a task that its file does not name, imported." in card
    assert "| loss | unknown |" in card
    assert "| iterations | unknown |" in card
    assert "Measured" not in card


@pytest.mark.parametrize(
    "task",
    [
        {"kind": "denoising"},
        {"kind": "denoising", "sigma": "x"},
        {"kind": "jpeg", "quality": [7]},
        {"kind": "demosaicking"},
        {"kind": "custom", "distortions": [1]},
    ],
)
def test_a_task_that_a_file_describes_badly_is_no_obstacle(model: Model, task: object) -> None:
    model.manifest = model.manifest | {"task": task}
    assert "for a task that its file does not describe well, trained." in write_card(model, [])
