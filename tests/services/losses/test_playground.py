"""Looks at pairs of pictures: values, shares and maps, held to the loss itself."""

import io

import numpy as np
import pytest
from PIL import Image

from services.errors import BadInputError
from services.images.catalogue import pixels
from services.losses import comparison, playground
from services.losses.comparison import to_tensor
from services.losses.pictures import encode
from services.losses.playground import Pair, fitting_size, judge, overlay, prepare
from services.phase1.recipe import Denoising, JpegRestoration


def test_a_judgement_is_the_losss_with_its_shares(small_loss, photograph: bytes, noisy) -> None:
    pair = Pair(noisy(25), photograph)
    judged = judge(small_loss.blobs, small_loss.key, pair)
    images = to_tensor(pair.image), to_tensor(pair.target)
    assert judged.value == pytest.approx(float(small_loss.loss(*images)), rel=1e-5)
    terms = small_loss.loss.terms(*images)
    assert len(judged.terms) == terms.numel()
    for term in judged.terms:
        tap = small_loss.loss.tap_names.index(term.tap)
        assert term.value == pytest.approx(float(terms[term.scale, tap]), rel=1e-5)
    assert judged.psnr == pytest.approx(20.17, abs=0.5)  # 20·log₁₀(255 / 25)


def test_identical_images_give_nothing(small_loss, photograph: bytes) -> None:
    judged = judge(small_loss.blobs, small_loss.key, Pair(photograph, photograph))
    assert judged.value == 0
    assert {term.value for term in judged.terms} == {0.0}
    assert judged.psnr == pytest.approx(100)
    shown = overlay(small_loss.blobs, small_loss.key, Pair(photograph, photograph), "difference")
    assert shown.peak == 0


def test_more_noise_is_worse(small_loss, photograph: bytes, noisy) -> None:
    values = [
        judge(small_loss.blobs, small_loss.key, Pair(noisy(sigma), photograph)).value
        for sigma in (0, 5, 15, 40)
    ]
    assert values == sorted(values)
    assert values[0] == 0 < values[1]


def test_a_map_lies_where_the_difference_is(small_loss, photograph: bytes) -> None:
    changed = np.array(pixels(photograph))
    changed[20:30, 40:50] = 255 - changed[20:30, 40:50]
    pair = Pair(encode(changed), photograph)
    for scale, tap in ((0, "head"), (2, "tail"), (None, None)):
        shown = overlay(small_loss.blobs, small_loss.key, pair, "difference", scale=scale, tap=tap)
        picture = np.asarray(Image.open(io.BytesIO(shown.png)))
        assert picture.shape == (64, 64, 4)
        row, column = np.unravel_index(picture[..., :3].sum(axis=2).argmax(), (64, 64))
        assert 15 <= row < 35
        assert 35 <= column < 55
        exact = [
            each.map[0]
            for each in small_loss.loss.maps(to_tensor(pair.image), to_tensor(pair.target))
            if scale in (None, each.scale) and tap in (None, each.tap)
        ]
        border = (64 - exact[0].shape[0]) // 2  # what the head's unpadded convolution leaves out
        assert (picture[border:-border, border:-border, 3] == 255).all()
        assert (picture[:border, :, 3] == 0).all()
        if scale is not None:
            assert shown.peak == pytest.approx(float(exact[0].max()), rel=1e-4)


def test_a_pair_is_the_reference_and_what_a_task_makes_of_it(photograph: bytes) -> None:
    pair = prepare(photograph, None, Denoising(sigma=(0, 50)), size=(64, 64), position=0.5)
    difference = pixels(pair.image).astype(float) - pixels(pair.target)
    assert difference.std() == pytest.approx(25, rel=0.1)
    np.testing.assert_array_equal(pixels(pair.target), pixels(photograph))
    again = prepare(photograph, None, Denoising(sigma=(0, 50)), size=(64, 64), position=0.5)
    assert again == pair


def test_a_pair_is_shrunk(photograph: bytes, noisy) -> None:
    pair = prepare(photograph, noisy(10), JpegRestoration(), size=(32, 32), position=0)
    assert pixels(pair.image).shape == pixels(pair.target).shape == (32, 32, 3)
    assert pair.image != pair.target


@pytest.mark.parametrize(
    ("size", "longest", "weights", "expected"),
    [
        ((64, 48), None, 100_000, (64, 48)),
        ((64, 48), 32, 100_000, (32, 24)),
        ((1000, 1000), None, 100_000, (512, 512)),  # the pixels' limit
        ((1000, 250), None, 10_000_000, (126, 31)),  # the weights': 4e10 / 1e7 = 4000 px
    ],
)
def test_large_images_are_shrunk_until_a_look_is_quick(
    size: tuple[int, int], longest: int | None, weights: int, expected: tuple[int, int]
) -> None:
    limits = {"operations": playground.MAX_OPERATIONS, "pixels": playground.MAX_PIXELS}
    assert fitting_size(*size, longest, 4 * weights, **limits) == expected


def test_images_smaller_than_what_an_activation_sees_are_refused(small_loss) -> None:
    tiny = encode(np.zeros((64, 8, 3), np.uint8))
    with pytest.raises(BadInputError, match="8×64 px; this loss needs at least 11 px"):
        judge(small_loss.blobs, small_loss.key, Pair(tiny, tiny))
    with pytest.raises(BadInputError, match="at least 11 px"):
        comparison.compare(
            small_loss.blobs, small_loss.key, tiny, tiny, maps=False, gradient_wanted=True
        )
