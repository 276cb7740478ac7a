"""The card: right for every task, and no markup from a name."""

import pytest

from services.database.schema import Loss, LossFile, now
from services.losses.card import write_card


def card(name: str = "mine", **manifest: object) -> str:
    loss = Loss(
        id="loss_1",
        owner="local",
        name=name,
        job_id=None,
        manifest={
            "origin": "trained",
            "task": {},
            "widths": [32, 64],
            "layers": 5,
            "padding": "valid",
            "taps": "every-relu",
            "value_range": [-1.0, 1.0],
            "seeds": [],
            "random_seed": None,
            "iterations": [10, 10],
            "recipe": {},
            "software": {},
        }
        | manifest,
        sha256="f" * 64,
        created=now(),
    )
    return write_card(loss, [LossFile(loss_id="loss_1", format="pth", size=12, sha256="e" * 64)])


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"kind": "denoising", "sigma": [0, 55]}, "denoising, σ 0 to 55 of 255"),
        ({"kind": "denoising", "sigma": 25.0}, "denoising, σ 25 of 255"),
        ({"kind": "jpeg", "quality": [7, 10]}, "removal of JPEG artefacts, quality 7 to 10"),
        ({"kind": "sisr"}, "single-image super-resolution"),
        (
            {"kind": "custom", "distortions": [{"kind": "webp"}, {"kind": "rescale"}]},
            "a pipeline of webp, rescale",
        ),
        ({}, "a task that its file does not name"),
    ],
)
def test_the_task_is_in_words(task: dict[str, object], words: str) -> None:
    assert f"An MDF loss for {words}" in card(task=task).replace("the removal", "removal")


def test_recipe_and_files_stand_in_tables() -> None:
    text = card(recipe={"learning_rate": 0.0005}, software={"torch": "2.6"}, random_seed=3)
    assert "| `learning_rate` | 0.0005 |" in text
    assert "| version of torch | 2.6 |" in text
    assert "| random seed | 3 |" in text
    assert f"| pth | 12 | `{'e' * 64}` |" in text


def test_a_name_is_no_markup() -> None:
    text = card(name="<img src=x>|[a](javascript:b)")
    assert text.startswith("# \\<img src=x\\>\\|\\[a\\](javascript:b)\n")
