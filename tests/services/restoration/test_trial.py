"""Test images: degraded as a model's training degraded them."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data

from services.errors import BadInputError
from services.restoration.trial import degrade

PHOTO = np.ascontiguousarray(data.astronaut()[:97, :130])
DNCNN = {"kind": "dncnn"}
EDSR = {"kind": "edsr", "scale": 4}


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def test_noise_is_drawn_by_its_seed() -> None:
    task = {"kind": "denoising", "sigma": 20}
    first, target = degrade(png(PHOTO), task, DNCNN, random_seed=1)
    again, _ = degrade(png(PHOTO), task, DNCNN, random_seed=1)
    other, _ = degrade(png(PHOTO), task, DNCNN, random_seed=2)
    np.testing.assert_array_equal(target, PHOTO)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    inside = (PHOTO > 64) & (PHOTO < 191)  # not clipped
    assert (first.astype(float) - PHOTO)[inside].std() == pytest.approx(20, rel=0.03)


def test_a_network_that_enlarges_is_given_a_small_image() -> None:
    small, target = degrade(png(PHOTO), {"kind": "sisr", "factor": 4}, EDSR, random_seed=0)
    assert small.shape == (24, 32, 3)
    np.testing.assert_array_equal(target, PHOTO[:96, :128])


def test_an_image_that_is_too_small_is_refused() -> None:
    with pytest.raises(BadInputError, match="3×3 px; the model needs 4 px"):
        degrade(png(PHOTO[:3, :3]), {"kind": "sisr", "factor": 4}, EDSR, random_seed=0)
