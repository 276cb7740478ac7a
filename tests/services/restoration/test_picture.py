"""One image file through a restorer: every kind of image gives a result or a clear error."""

import io
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from models.restorers import create, initialise
from services.errors import BadImageError, BadInputError
from services.images.decoding import Limits, decode
from services.restoration import tiling
from services.restoration.picture import restore_picture
from services.restoration.tiling import restore_tensor
from services.settings import Settings

RGB = np.ascontiguousarray(data.astronaut()[100:148, 200:264])
GREY = np.ascontiguousarray(RGB[..., 1])
ALPHA = np.linspace(0, 255, 64).astype(np.uint8)[None].repeat(48, axis=0)


def file(pixels, form="PNG", mode=None, **options) -> bytes:
    image = Image.fromarray(pixels)
    content = io.BytesIO()
    (image.convert(mode) if mode else image).save(content, form, **options)
    return content.getvalue()


def opened(restored) -> Image.Image:
    image = Image.open(io.BytesIO(restored.content))
    assert image.size == (restored.width, restored.height)
    assert Image.MIME[image.format] == restored.media_type
    return image


def build(seed=0, **hyperparameters):
    network = create(**hyperparameters)
    initialise(network, torch.Generator().manual_seed(seed))
    return network.eval().requires_grad_(False)


def expected(network, pixels):
    """What the network makes of (H, W, C) pixels, at once."""
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
    restored = restore_tensor(network, image)[0].clamp(0, 1).permute(1, 2, 0)
    return (255 * restored).round().to(torch.uint8).numpy()


@pytest.fixture(scope="module")
def colour():
    return build(kind="dncnn", depth=4, width=8)


@pytest.fixture(scope="module")
def monochrome():
    return build(kind="dncnn", depth=4, width=8, channels=1)


@pytest.fixture(scope="module")
def enlarging():
    return build(kind="edsr", scale=3, blocks=1, width=8, value_range=1)


def test_a_colour_image_is_what_the_restorer_makes_of_it(colour, enlarging):
    for network in (colour, enlarging):
        image = opened(restore_picture(network, file(RGB)))
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), expected(network, RGB))


def test_tiles_do_not_show(colour, monkeypatch):
    whole = restore_picture(colour, file(RGB)).content
    monkeypatch.setattr(tiling, "TILE_BYTES", 1 << 17)
    counts = []
    assert restore_picture(colour, file(RGB), on_tile=lambda *c: counts.append(c)).content == whole
    assert counts[-1][0] == counts[-1][1] == len(counts) > 5


def test_a_grey_image_gives_a_grey_one(colour, monochrome):
    three = np.repeat(GREY[..., None], 3, axis=2)
    for content in (file(GREY), file(three), file(three, "TIFF")):
        image = opened(restore_picture(monochrome, content))
        assert image.mode == "L"
        np.testing.assert_array_equal(
            np.asarray(image), expected(monochrome, GREY[..., None])[..., 0]
        )
        of_colours = opened(restore_picture(colour, content))
        assert of_colours.mode == "L"
        mean = expected(colour, three).astype(float).mean(axis=2)
        assert np.abs(np.asarray(of_colours) - mean).max() <= 1


def test_a_restorer_of_one_channel_restores_the_planes_of_a_colour_image(monochrome):
    counts = []
    restored = restore_picture(monochrome, file(RGB), on_tile=lambda *c: counts.append(c))
    planes = [expected(monochrome, RGB[..., plane : plane + 1]) for plane in range(3)]
    np.testing.assert_array_equal(np.asarray(opened(restored)), np.concatenate(planes, axis=2))
    assert counts == [(1, 3), (2, 3), (3, 3)]


def test_transparency_is_kept_and_the_colour_below_it_restored_as_it_is(colour):
    image = opened(restore_picture(colour, file(np.dstack([RGB, ALPHA]))))
    assert image.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(image)[..., 3], ALPHA)
    np.testing.assert_array_equal(np.asarray(image)[..., :3], expected(colour, RGB))


def test_transparency_of_a_grey_image_is_kept(monochrome):
    content = file(np.dstack([GREY, ALPHA]))
    image = opened(restore_picture(monochrome, content))
    assert image.mode == "LA"
    np.testing.assert_array_equal(np.asarray(image)[..., 1], ALPHA)
    np.testing.assert_array_equal(np.asarray(image)[..., :1], expected(monochrome, GREY[..., None]))


def test_transparency_is_enlarged_with_the_image(enlarging):
    image = opened(restore_picture(enlarging, file(np.dstack([RGB, ALPHA]))))
    bicubic = Image.fromarray(ALPHA).resize((192, 144), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.asarray(image)[..., 3], np.asarray(bicubic))


def test_opaque_transparency_is_none(colour):
    opaque = np.dstack([RGB, np.full_like(GREY, 255)])
    assert opened(restore_picture(colour, file(opaque))).mode == "RGB"


@pytest.mark.parametrize("form", ["webp", "png"])
def test_other_formats_keep_transparency(colour, form):
    restored = restore_picture(colour, file(np.dstack([RGB, ALPHA])), format=form)
    assert restored.notes == ()
    np.testing.assert_allclose(np.asarray(opened(restored))[..., 3], ALPHA, atol=2)


def test_jpeg_lays_transparency_over_white_and_says_so(colour):
    clear = np.zeros_like(GREY)
    restored = restore_picture(colour, file(np.dstack([RGB, clear])), format="jpeg")
    assert restored.notes == ("transparency laid over white: JPEG has none",)
    assert (np.asarray(opened(restored)) == 255).all()
    grey = restore_picture(colour, file(np.dstack([GREY, clear])), format="jpeg")
    assert opened(grey).mode == "L"
    assert (np.asarray(opened(grey)) == 255).all()


def test_quality_is_of_jpeg_and_webp(colour):
    for form in ("jpeg", "webp"):
        sizes = [
            len(restore_picture(colour, file(RGB), format=form, quality=quality).content)
            for quality in (10, 95)
        ]
        assert sizes[0] < sizes[1]
        assert sizes[1] == len(restore_picture(colour, file(RGB), format=form).content)
    with pytest.raises(BadInputError, match=r"quality is 90, and PNG has none.*jpeg or webp"):
        restore_picture(colour, file(RGB), quality=90)
    with pytest.raises(BadInputError, match="quality is 0; it must be from 1"):
        restore_picture(colour, file(RGB), format="jpeg", quality=0)


def test_sixteen_bits_become_eight(monochrome):
    high = GREY.astype(np.uint16) * 257
    image = opened(restore_picture(monochrome, file(high)))
    np.testing.assert_array_equal(np.asarray(image), expected(monochrome, GREY[..., None])[..., 0])


def test_an_image_that_lies_on_its_side_is_restored_upright(colour):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = file(RGB, "JPEG", exif=exif, quality=95)
    image = opened(restore_picture(colour, content))
    assert image.size == (48, 64)
    assert image.getexif().get(0x0112, 1) == 1
    upright = np.asarray(Image.open(io.BytesIO(decode(content, Limits.of(Settings())).png)))
    np.testing.assert_array_equal(np.asarray(image), expected(colour, upright))


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 2), (2, 33), (32, 8192), (8192, 1)], ids=str
)
@pytest.mark.parametrize(
    "hyperparameters",
    [
        {"kind": "dncnn", "depth": 3, "width": 4},
        {"kind": "rrdbnet", "scale": 2, "blocks": 1, "width": 4, "growth": 2},
        {"kind": "srresnet", "scale": 3, "blocks": 1, "width": 4},
    ],
    ids=lambda hyperparameters: hyperparameters["kind"],
)
def test_an_image_of_any_shape_is_restored(height, width, hyperparameters):
    network = build(**hyperparameters)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = opened(restore_picture(network, file(pixels)))
    assert image.size == (width * network.scale, height * network.scale)
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), expected(network, pixels))


@pytest.mark.parametrize(
    "content",
    [
        file(RGB, "JPEG", mode="CMYK"),
        file(RGB, mode="P"),
        file(GREY, mode="1"),
        file(RGB, "WEBP"),
        file(RGB, "TIFF"),
    ],
    ids=["CMYK JPEG", "palette PNG", "black and white PNG", "WebP", "TIFF"],
)
def test_other_kinds_of_files_are_restored(colour, content):
    assert opened(restore_picture(colour, content)).size == (64, 48)


def test_a_file_of_the_catalogue_is_not_decoded_again(colour, monkeypatch):
    content = file(np.dstack([RGB, ALPHA]))
    stored = decode(content, Limits.of(Settings()), keep_alpha=True).png
    expected_content = restore_picture(colour, content).content
    monkeypatch.setattr("services.restoration.picture.decode", None)
    assert restore_picture(colour, stored, decoded=True).content == expected_content


def test_a_bad_file_is_told_what_is_wrong_with_it(colour):
    with pytest.raises(BadImageError, match="truncated or damaged"):
        restore_picture(colour, file(RGB)[:-900])
    small = Limits.of(Settings(max_image_pixels=10))
    with pytest.raises(BadImageError, match="at most 1e-05 megapixels are accepted"):
        restore_picture(colour, file(RGB), limits=small)


def test_a_result_that_is_too_large_is_refused_before_any_work(enlarging):
    with pytest.raises(
        BadInputError,
        match=r"would be 192 × 144 pixels \(the model enlarges by 3\); at most 0\.02 megapixels",
    ):
        restore_picture(enlarging, file(RGB), max_pixels=20_000)
    wide = file(np.zeros((1, 6000), np.uint8))
    with pytest.raises(BadInputError, match=r"webp files have at most 16383 pixels .* png"):
        restore_picture(enlarging, wide, format="webp")


def test_weights_that_give_no_numbers_are_told(colour):
    broken = build(kind="dncnn", depth=3, width=4)
    broken.model[-1].bias.fill_(torch.nan)
    with pytest.raises(BadInputError, match="values that are not finite"):
        restore_picture(broken, file(RGB))


@pytest.mark.slow
def test_24_megapixels_are_restored_in_less_than_2_gb():
    script = """
        import io, re
        from pathlib import Path
        import numpy as np
        import torch
        from PIL import Image
        from models.restorers import create, initialise
        from services.restoration.picture import restore_picture

        ramp = Image.linear_gradient("L").resize((6000, 4000))
        image = Image.merge("RGB", (ramp, ramp.rotate(180), ramp))
        content = io.BytesIO()
        image.save(content, "PNG")
        del image, ramp
        network = create("srcnn", widths=[8, 4])
        initialise(network, torch.Generator().manual_seed(0))
        restored = restore_picture(network.eval(), content.getvalue())
        assert (restored.width, restored.height) == (6000, 4000)
        # Not by getrusage: that begins with the peak of the process which started this one.
        print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2 * 1024 * 1024  # KiB
