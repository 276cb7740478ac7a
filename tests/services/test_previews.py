"""What is shown before a training: parts of an image, shrunk and distorted."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data

from services import previews
from services.distortions import BayerMosaic, GaussianBlur, GaussianNoise
from services.errors import BadInputError
from services.phase1.recipe import Custom, Denoising, JpegRestoration, Sisr, Task
from services.previews import Window

PHOTO = np.ascontiguousarray(data.astronaut()[:96, :128])


def png(pixels: np.ndarray = PHOTO) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_a_part_keeps_its_pixels() -> None:
    part = pixels(previews.excerpt(png(), Window(10, 20, 30, 40)))
    np.testing.assert_array_equal(part, PHOTO[20:60, 10:40])


def test_without_a_size_a_part_reaches_the_border() -> None:
    part = pixels(previews.excerpt(png(), Window(left=100, top=90)))
    np.testing.assert_array_equal(part, PHOTO[90:, 100:])


def test_an_image_shrinks_by_lanczos() -> None:
    small = pixels(previews.excerpt(png(), Window(), (32, 24)))
    expected = np.asarray(Image.fromarray(PHOTO).resize((32, 24), Image.Resampling.LANCZOS))
    assert small.shape == (24, 32, 3)
    assert np.abs(small.astype(int) - expected).max() <= 8  # the reducing gap's difference


def test_a_large_image_fits_within_the_cap() -> None:
    large = np.zeros((512, 4096, 3), np.uint8)
    assert pixels(previews.excerpt(png(large), Window())).shape == (128, previews.MAX_SIDE, 3)


def test_transparency_is_laid_over_white() -> None:
    clear = np.zeros((40, 40, 4), np.uint8)
    assert (pixels(previews.excerpt(png(clear), Window())) == 255).all()


@pytest.mark.parametrize(
    "window", [Window(left=128), Window(0, 0, 129), Window(0, 90, 10, 7), Window(top=96)]
)
def test_a_part_outside_is_refused(window: Window) -> None:
    with pytest.raises(BadInputError, match="not within the image of 128×96 px"):
        previews.excerpt(png(), window)


def test_nothing_is_enlarged() -> None:
    with pytest.raises(BadInputError, match="129×96 px is more than the part of 128×96 px has"):
        previews.excerpt(png(), Window(), (129, None))


@pytest.mark.parametrize(("position", "sigma"), [(0.0, 10.0), (0.5, 20.0), (1.0, 30.0)])
def test_noise_is_as_strong_as_its_place_in_the_range(position: float, sigma: float) -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    noisy = previews.distorted(
        png(grey), Denoising(sigma=(10, 30)), position=position, random_seed=1
    )
    assert pixels(noisy).std() == pytest.approx(sigma, rel=0.03)


def test_the_same_seed_draws_the_same_noise() -> None:
    drawn = [
        previews.distorted(png(), Denoising(), position=1, random_seed=seed) for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    "task",
    [
        JpegRestoration(quality=(5, 5)),
        Sisr(),
        Custom(distortions=(GaussianBlur(sigma=(1, 3)), BayerMosaic(), GaussianNoise(sigma=5))),
    ],
)
def test_every_task_shows_a_distortion(task: Task) -> None:
    shown = pixels(previews.distorted(png(), task, position=1, random_seed=0))
    assert shown.shape == PHOTO.shape
    assert 1 < np.abs(shown.astype(int) - PHOTO).mean() < 60


def test_a_whole_number_stays_one() -> None:
    low, middle = (
        previews.distorted(png(), JpegRestoration(quality=(7, 10)), position=at, random_seed=0)
        for at in (0.0, 0.1)
    )
    assert low == middle
