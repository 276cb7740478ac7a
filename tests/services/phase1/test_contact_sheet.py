import io

import numpy as np
import pytest
from PIL import Image

from services.phase1.contact_sheet import draw_contact_sheet
from services.phase1.history import CURVES, LONGEST_SIDE, ScaleHistory, activation_map, picture


def history(scales: int, points: int = 30) -> list[ScaleHistory]:
    random = np.random.default_rng(3)
    sides = [20 + 12 * scale for scale in range(scales)]
    curves = random.standard_normal((points, 1 + len(CURVES))) ** 2
    curves[:, 0] = np.arange(1, points + 1)
    return [
        ScaleHistory(
            seed=random.integers(0, 256, (side, side + 10, 3), dtype=np.uint8),
            generated=random.integers(0, 256, (side, side + 10, 3), dtype=np.uint8),
            activations=random.standard_normal((side - 10, side)).astype(np.float32),
            curves=curves,
        )
        for side in sides
    ]


@pytest.mark.parametrize("scales", [1, 3, 8])
def test_it_has_a_column_for_every_scale(scales: int) -> None:
    png = draw_contact_sheet(history(scales), title="A loss")
    sheet = Image.open(io.BytesIO(png))
    assert sheet.format == "PNG"
    width, height = sheet.size
    assert height > 900
    assert width > 240 * scales
    # A column of noise in every part of the width: the seeds.
    band = np.asarray(sheet.convert("L"))[height // 8 : height // 4].std(axis=0)
    parts = np.array_split(band, scales)
    assert all(part.max() > 40 for part in parts)


def test_the_same_history_gives_the_same_bytes_without_date_or_version() -> None:
    first = draw_contact_sheet(history(2), title="A loss")
    assert draw_contact_sheet(history(2), title="A loss") == first
    assert draw_contact_sheet(history(2), title="Another") != first
    assert not {"Software", "Creation Time", "date"} & set(Image.open(io.BytesIO(first)).info)


def test_flat_maps_and_single_points_are_drawn() -> None:
    (scale,) = history(1, points=1)
    flat = ScaleHistory(scale.seed, scale.generated, np.zeros((4, 5), np.float32), scale.curves)
    assert draw_contact_sheet([flat], title="Flat").startswith(b"\x89PNG")


def test_large_pictures_are_remembered_small() -> None:
    import torch

    assert picture(torch.zeros(1, 3, 1000, 2000)).shape == (LONGEST_SIDE // 2, LONGEST_SIDE, 3)
    assert activation_map(torch.zeros(1, 1, 2000, 1000)).shape == (LONGEST_SIDE, LONGEST_SIDE // 2)


def test_a_picture_shows_the_training_range() -> None:
    import torch

    image = torch.tensor([-1.5, -1.0, 0.0, 1.0, 1.5]).expand(1, 3, 1, 5)
    assert picture(image)[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_a_history_survives_a_checkpoint() -> None:
    (scale,) = history(1)
    restored = ScaleHistory.from_state(scale.to_state())
    for name, array in vars(scale).items():
        assert np.array_equal(vars(restored)[name], array)
