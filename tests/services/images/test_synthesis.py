import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from skimage import data

from services.errors import BadInputError
from services.images.resampling import resize
from services.images.synthesis import (
    ContrastRings,
    PinkNoise,
    PyramidPermutation,
    Synthesis,
    laplacian_pyramid,
    synthesise,
)


def power_by_frequency(image: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Radial mean of the power spectrum of a square image, (frequency, power)."""
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    frequency = np.fft.fftfreq(len(image))
    radius = np.hypot(frequency[:, None], frequency[None, :])
    edges = np.geomspace(0.02, 0.4, 12)
    band = np.digitize(radius, edges)
    means = np.array([power[band == index].mean() for index in range(1, 12)])
    return np.sqrt(edges[1:] * edges[:-1]), means


def test_pink_noise_has_power_one_over_frequency_squared() -> None:
    image = synthesise(PinkNoise(width=256, height=256)).astype(float)
    frequency, power = power_by_frequency(image[..., 0])
    slope = np.polyfit(np.log(frequency), np.log(power), 1)[0]
    assert slope == pytest.approx(-2, abs=0.1)


def test_pink_noise_uses_the_range_without_clipping_much() -> None:
    image = synthesise(PinkNoise(width=200, height=120))
    assert image.shape == (120, 200, 3)
    assert image.dtype == np.uint8
    assert image.mean() == pytest.approx(127.5, abs=2)
    assert image.std() == pytest.approx(46, abs=2)
    assert np.isin(image, (0, 255)).mean() < 0.02


def test_the_contrast_of_rings_falls_towards_the_centre() -> None:
    image = synthesise(ContrastRings(width=257, height=257, period=16)).astype(int)
    ray = image[128, 128:, 0]  # from the centre to the right
    ranges = [np.ptp(ray[start : start + 16]) for start in range(0, 112, 16)]
    assert ranges == sorted(ranges)
    assert ranges[0] < 40
    assert ranges[-1] > 200
    assert image[128, 128, 0] == pytest.approx(128, abs=1)


def test_rings_are_the_same_in_every_direction() -> None:
    image = synthesise(ContrastRings(width=129, height=129))
    assert np.array_equal(image, image[::-1])
    assert np.array_equal(image, image.transpose(1, 0, 2))


def test_the_levels_of_a_laplacian_pyramid_add_up_to_the_image() -> None:
    image = data.chelsea()[:150, :203].astype(np.float32) / 255
    *finer, total = laplacian_pyramid(image)
    for level in reversed(finer):
        total = level + resize(total, level.shape[1::-1], "bilinear")
    assert np.abs(total - image).max() < 1e-6
    assert len(finer) == 4


def test_permutation_keeps_the_spectrum_and_loses_the_content() -> None:
    source = data.chelsea()[:256, 100:356]
    image = synthesise(PyramidPermutation(image_id="img"), source)
    assert image.shape == source.shape
    _, before = power_by_frequency(source[..., 1].astype(float))
    _, after = power_by_frequency(image[..., 1].astype(float))
    assert np.abs(np.log(after / before)).max() < np.log(6)
    assert abs(np.corrcoef(source[..., 1].ravel(), image[..., 1].ravel())[0, 1]) < 0.15
    assert image.mean() == pytest.approx(source.mean(), abs=6)


@pytest.mark.parametrize("spec", [PinkNoise(), PyramidPermutation(image_id="img")])
def test_the_random_seed_decides_the_image(spec: PinkNoise | PyramidPermutation) -> None:
    source = data.rocket()[:64, :64]
    first, again, other = (
        synthesise(spec.model_copy(update={"random_seed": seed}), source) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_permutation_without_a_source_is_refused() -> None:
    with pytest.raises(BadInputError, match="needs a source image"):
        synthesise(PyramidPermutation(image_id="img"))


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="'pink-noise', 'contrast-rings'"):
        TypeAdapter(Synthesis).validate_python({"kind": "plasma"})
