import io

import numpy as np
import pytest
from PIL import Image

from services.phase2.contact_sheet import draw_contact_sheet
from services.phase2.history import TrainingHistory
from services.phase2.validation import Sample


def history(samples: int, *, validated: bool = True) -> TrainingHistory:
    random = np.random.default_rng(3)
    pictures = [
        Sample(*random.integers(0, 256, (3, 40, 60, 3), dtype=np.uint8)) for _ in range(samples)
    ]
    steps = range(10, 101, 10)
    points = [{"iteration": step, "loss": 1 / step, "learning_rate": 1e-3} for step in steps]
    measured = {"loss": 0.02, "psnr": 28.0, "ssim": 0.8} if validated else {}
    return TrainingHistory(
        points=points,
        validations=[{"iteration": 50, **measured}, {"iteration": 100, **measured}],
        best=100,
        degraded={"psnr": 25.0, "ssim": 0.7} if validated else {},
        samples=pictures,
    )


@pytest.mark.parametrize("samples", [0, 1, 3])
def test_it_has_a_row_for_every_sample(samples: int) -> None:
    sheet = Image.open(io.BytesIO(draw_contact_sheet(history(samples), title="A restorer")))
    assert sheet.format == "PNG"
    width, height = sheet.size
    assert width > 1000
    assert height > 300 + 200 * samples
    # Noise in every third of the width, where the pictures are.
    band = np.asarray(sheet.convert("L"))[: height * samples // (samples + 2)]
    if samples:
        assert all(part.std() > 40 for part in np.array_split(band[height // 8 :], 3, axis=1))


def test_the_same_history_gives_the_same_bytes_without_date_or_version() -> None:
    first = draw_contact_sheet(history(2), title="A restorer")
    assert draw_contact_sheet(history(2), title="A restorer") == first
    assert draw_contact_sheet(history(2), title="Another") != first
    assert not {"Software", "Creation Time", "date"} & set(Image.open(io.BytesIO(first)).info)


def test_a_training_without_validation_images_is_drawn() -> None:
    sheet = draw_contact_sheet(history(0, validated=False), title="Alone")
    assert sheet.startswith(b"\x89PNG")
