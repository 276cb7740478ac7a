"""Pictures of a folder, for training without a server."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from services.datasets.picture import pictures_of_folder
from services.errors import BadInputError
from services.images.decoding import Limits, pixel_digest
from services.settings import Settings

LIMITS = Limits.of(Settings())
PHOTO = np.ascontiguousarray(data.astronaut()[:40, :60])


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_a_folders_pictures_come_in_the_order_of_names_and_once_each(tmp_path: Path) -> None:
    save(tmp_path / "b.png", PHOTO)
    save(tmp_path / "a" / "flipped.webp", PHOTO[::-1].copy())
    save(tmp_path / "c.tiff", PHOTO)  # the same pixels as b.png
    save(tmp_path / ".hidden" / "d.png", PHOTO[:, ::-1].copy())
    (tmp_path / ".DS_Store").write_bytes(b"no picture")
    pictures = pictures_of_folder(tmp_path, LIMITS)
    assert [picture.name for picture in pictures] == ["a/flipped.webp", "b.png"]
    second = pictures[1]
    assert (second.width, second.height) == (60, 40)
    assert second.digest == pixel_digest(60, 40, PHOTO.tobytes())
    np.testing.assert_array_equal(second.read(), PHOTO)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png", PHOTO)
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(BadInputError, match=r"notes\.txt: the file is not an image"):
        pictures_of_folder(tmp_path, LIMITS)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no picture in the folder"):
        pictures_of_folder(tmp_path, LIMITS)
