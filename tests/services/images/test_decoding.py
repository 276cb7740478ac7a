"""Uploads: what is accepted, with which pixels, and what each bad file is told."""

import io
import json
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms
from skimage import data

from services.errors import BadImageError, DiskFullError, TooLargeError, UnsupportedImageError
from services.images import decoding
from services.images.catalogue import pixels
from services.images.decoding import Limits, decode, pixel_digest
from services.settings import Settings

OWN_LIMITS = Limits.of(Settings())
# How quick the machine is, is not what is tested.
LIMITS = replace(OWN_LIMITS, cpu_seconds=300, seconds=300)
RGB = np.ascontiguousarray(data.astronaut()[:48, :64])
GREY = RGB[:, :, 1]
ONE_STRIP = {"compression": "tiff_adobe_deflate", "strip_size": 1 << 30}
TURNED = {"compression": "tiff_lzw", "tiffinfo": {0x0112: 6}}


def file(image: Image.Image | NDArray[np.generic], form: str, **options: object) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


# Where the passes of an interlaced PNG begin, and their steps: columns and rows.
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
ADAM7 += [(0, 1, 1, 2)]
# Colour types of PNG, with the bits that their samples may have.
PNG_KINDS = [
    *((0, bits, lace) for bits in (1, 2, 4, 8, 16) for lace in (0, 1)),
    *((3, bits, lace) for bits in (1, 2, 4, 8) for lace in (0, 1)),
    *((colour, bits, lace) for colour in (2, 4, 6) for bits in (8, 16) for lace in (0, 1)),
]


def white_png(
    colour: int, bits: int, lace: int, *, cut: int = 0, behind: bytes = b"", first: bytes = b""
) -> bytes:
    """A white PNG of 37 × 33 pixels without the last so many bytes of its rows."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * bits
    rows = b""
    for left, top, across, down in ADAM7 if lace else [(0, 0, 1, 1)]:
        columns = len(range(left, 37, across))
        rows += (b"\0" + b"\xff" * -(-columns * samples // 8)) * len(range(top, 33, down))
    content = zlib.compress(rows[: len(rows) - cut] + behind)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 37, 33, bits, colour, 0, 0, lace))]
    chunks += [(b"PLTE", b"\xff" * 3 * 2**bits)] * (colour == 3) + [(b"fcTL", first)] * bool(first)
    chunks += [(b"IDAT", content[:9]), (b"IDAT", b""), (b"IDAT", content[9:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def smaller_frame() -> bytes:
    """A PNG whose first frame is said to have a row less than it."""
    frame = struct.pack(">IIIIIHHBB", 0, 37, 32, 0, 0, 1, 1, 0, 0)
    return white_png(2, 8, 0, first=frame)


def rgb16_png(samples: NDArray[np.uint16]) -> bytes:
    """A PNG with 16 bits per sample in colour, which Pillow reads and does not write."""
    height, width, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return raw_png(struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0), rows)


def bomb() -> bytes:
    """A PNG of 30000 × 30000 black pixels in 110 kB."""
    return raw_png(struct.pack(">IIBBBBB", 30000, 30000, 1, 0, 0, 0, 0), bytes(30000 * 3751))


def raw_png(header: bytes, rows: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def oriented_jpeg(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    # More rows and columns than are done at a time, and not a multiple of them.
    return file(np.tile(RGB, (3, 3, 1))[:, 1:], "JPEG", quality=95, subsampling=0, exif=exif)


def grey_rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[:, :, None], 3, axis=2)


def half_transparent() -> Image.Image:
    layered = Image.fromarray(RGB).convert("RGBA")
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[:, :32] = 0
    layered.putalpha(Image.fromarray(alpha))
    return layered


def over_white() -> NDArray[np.uint8]:
    expected = RGB.copy()
    expected[:, :32] = 255
    return expected


HIGH = (np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21) & 0xFFFF
PALETTE = Image.fromarray(RGB).quantize(32)

EXACT: dict[str, tuple[Callable[[], bytes], NDArray[np.uint8], list[str]]] = {
    "PNG": (lambda: file(RGB, "PNG"), RGB, []),
    "lossless WebP": (lambda: file(RGB, "WebP", lossless=True), RGB, []),
    "TIFF": (lambda: file(RGB, "TIFF", compression="tiff_lzw"), RGB, []),
    "grey PNG": (lambda: file(GREY, "PNG"), grey_rgb(GREY), ["L converted to RGB"]),
    "black and white PNG": (
        lambda: file(Image.fromarray(GREY).convert("1", dither=Image.Dither.NONE), "PNG"),
        grey_rgb(np.where(GREY > 127, 255, 0).astype(np.uint8)),
        ["1 converted to RGB"],
    ),
    "palette PNG": (
        lambda: file(PALETTE, "PNG"),
        np.asarray(PALETTE.convert("RGB")),
        ["P converted to RGB"],
    ),
    "alpha PNG": (
        lambda: file(half_transparent(), "PNG"),
        over_white(),
        ["transparency laid over white"],
    ),
    "alpha WebP": (
        lambda: file(half_transparent(), "WebP", lossless=True),
        over_white(),
        ["transparency laid over white"],
    ),
    "opaque alpha PNG": (lambda: file(Image.fromarray(RGB).convert("RGBA"), "PNG"), RGB, []),
    "16-bit grey PNG": (
        lambda: file(HIGH, "PNG"),
        grey_rgb((HIGH >> 8).astype(np.uint8)),
        ["16 bits per sample scaled to 8", "L converted to RGB"],
    ),
    "16-bit grey TIFF": (
        lambda: file(HIGH, "TIFF"),
        grey_rgb((HIGH >> 8).astype(np.uint8)),
        ["16 bits per sample scaled to 8", "L converted to RGB"],
    ),
    "16-bit colour PNG": (
        lambda: rgb16_png(RGB.astype(np.uint16) * 257),
        RGB,
        ["16 bits per sample scaled to 8"],
    ),
}


@pytest.mark.parametrize("kind", EXACT)
def test_lossless_files_keep_their_pixels_as_8_bit_rgb(kind: str) -> None:
    make, expected, conversions = EXACT[kind]
    decoded = decode(make(), LIMITS)
    np.testing.assert_array_equal(pixels(decoded.png), expected)
    assert (decoded.width, decoded.height) == (64, 48)
    assert decoded.source["conversions"] == conversions
    assert decoded.digest == pixel_digest(64, 48, expected.tobytes())
    assert decoded.png.startswith(b"\x89PNG")


def palette_with_transparency() -> bytes:
    return file(PALETTE, "PNG", transparency=0)


TRANSPARENT: dict[str, tuple[Callable[[], bytes], NDArray[np.uint8]]] = {
    "RGBA PNG": (lambda: file(half_transparent(), "PNG"), np.asarray(half_transparent())),
    "RGBA TIFF": (lambda: file(half_transparent(), "TIFF"), np.asarray(half_transparent())),
    "grey PNG with alpha": (
        lambda: file(half_transparent().convert("LA"), "PNG"),
        np.asarray(half_transparent().convert("LA").convert("RGBA")),
    ),
    "palette PNG with transparency": (
        palette_with_transparency,
        np.asarray(Image.open(io.BytesIO(palette_with_transparency())).convert("RGBA")),
    ),
}


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_transparency_is_kept_with_the_colour_below_it_when_it_is_asked_for(kind: str) -> None:
    make, expected = TRANSPARENT[kind]
    decoded = decode(make(), LIMITS, keep_alpha=True)
    with Image.open(io.BytesIO(decoded.png)) as image:
        assert image.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(image), expected)
    assert decoded.digest == pixel_digest(64, 48, expected.tobytes(), "RGBA")
    assert decoded.source["mode"] in {"RGBA", "LA", "P"}
    assert "transparency laid over white" not in decoded.source["conversions"]
    over_paper = decode(make(), LIMITS)
    np.testing.assert_array_equal(pixels(decoded.png), pixels(over_paper.png))


def test_an_image_without_transparency_is_the_same_whether_or_not_it_is_kept() -> None:
    for image in (Image.fromarray(RGB), Image.fromarray(RGB).convert("RGBA")):
        content = file(image, "PNG")
        assert decode(content, LIMITS, keep_alpha=True) == decode(content, LIMITS)


def test_an_icc_profile_changes_the_colours_and_not_the_transparency() -> None:
    red = np.zeros((32, 32, 4), np.uint8)
    red[:, :, 0] = 255
    red[:16, :, 3] = 99
    decoded = decode(file(red, "PNG", icc_profile=swapped_profile()), LIMITS, keep_alpha=True)
    with Image.open(io.BytesIO(decoded.png)) as image:
        np.testing.assert_allclose(np.asarray(image)[0, 0], [0, 255, 0, 99], atol=2)


@pytest.mark.parametrize("kind", ["JPEG", "CMYK JPEG"])
def test_a_jpeg_has_the_colours_that_it_was_made_of(kind: str) -> None:
    image = Image.fromarray(RGB).convert("CMYK" if kind == "CMYK JPEG" else "RGB")
    decoded = decode(file(image, "JPEG", quality=95, subsampling=0), LIMITS)
    error = np.abs(pixels(decoded.png).astype(int) - RGB)
    assert error.mean() < 3
    assert ("CMYK converted to RGB" in decoded.source["conversions"]) == (kind == "CMYK JPEG")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation: int) -> None:
    decoded = decode(oriented_jpeg(orientation), LIMITS)
    plain = pixels(decode(oriented_jpeg(1), LIMITS).png)
    upright = {
        1: plain,
        2: plain[:, ::-1],
        3: plain[::-1, ::-1],
        4: plain[::-1],
        5: plain.transpose(1, 0, 2),
        6: plain.transpose(1, 0, 2)[:, ::-1],
        7: plain.transpose(1, 0, 2)[::-1, ::-1],
        8: plain.transpose(1, 0, 2)[::-1],
    }[orientation]
    np.testing.assert_array_equal(pixels(decoded.png), upright)
    assert decoded.digest == pixel_digest(*upright.shape[1::-1], upright.tobytes())
    told = [f"EXIF orientation {orientation} applied"] if orientation > 1 else []
    assert decoded.source["conversions"] == told


def test_an_icc_profile_is_converted_to_srgb() -> None:
    lab_like = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert decode(file(RGB, "PNG", icc_profile=srgb), LIMITS).source["conversions"] == []
    unusable = decode(file(GREY, "PNG", icc_profile=lab_like), LIMITS)
    assert unusable.source["conversions"] == ["unusable ICC profile dropped", "L converted to RGB"]
    broken = decode(file(RGB, "PNG", icc_profile=b"not a profile"), LIMITS)
    assert broken.source["conversions"] == ["unusable ICC profile dropped"]
    np.testing.assert_array_equal(pixels(broken.png), RGB)


def swapped_profile() -> bytes:
    """The sRGB profile with red and green exchanged, under another name."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {
        bytes(profile[at : at + 4]): at
        for at in range(132, 132 + 12 * struct.unpack(">I", profile[128:132])[0], 12)
    }
    red, green = tags[b"rXYZ"] + 4, tags[b"gXYZ"] + 4
    profile[red : red + 8], profile[green : green + 8] = (
        profile[green : green + 8],
        profile[red : red + 8],
    )
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def test_an_icc_profile_of_other_colours_changes_the_pixels() -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[:, :, 0] = 255
    decoded = decode(file(red, "PNG", icc_profile=swapped_profile()), LIMITS)
    assert decoded.source["conversions"] == ["RGB converted to sRGB by the ICC profile"]
    np.testing.assert_allclose(pixels(decoded.png)[0, 0], [0, 255, 0], atol=2)


def test_a_phones_jpeg_with_a_second_picture_gives_its_first() -> None:
    other = Image.fromarray(RGB[::-1].copy())
    content = file(RGB, "MPO", save_all=True, append_images=[other], quality=95)
    decoded = decode(content, LIMITS)
    assert decoded.source["format"] == "JPEG"
    assert decoded.source["conversions"] == ["first of 2 pictures taken"]
    assert np.abs(pixels(decoded.png).astype(int) - RGB).mean() < 3


def test_the_same_pixels_have_the_same_digest_in_any_format() -> None:
    digests = {
        decode(file(RGB, form, **options), LIMITS).digest
        for form, options in (("PNG", {}), ("TIFF", {}), ("WebP", {"lossless": True}))
    }
    assert len(digests) == 1


def test_a_digest_knows_the_shape() -> None:
    grey = bytes(32 * 64 * 3)
    assert pixel_digest(32, 64, grey) != pixel_digest(64, 32, grey)


def test_nothing_of_the_file_but_its_pixels_is_kept() -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    content = file(RGB, "PNG", exif=exif) + b"PK\x03\x04 <script>alert(1)</script>"
    decoded = decode(content, LIMITS)
    assert b"script" not in decoded.png
    assert b"taken at home" not in decoded.png
    np.testing.assert_array_equal(pixels(decoded.png), RGB)


def animated(form: str) -> bytes:
    frames = [Image.fromarray(np.roll(RGB, shift, axis=1)) for shift in (5, 10)]
    return file(RGB, form, save_all=True, append_images=frames)


def chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def endless_scans() -> bytes:
    content = file(RGB, "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    return content[:start] + content[start:-2] * 100 + content[-2:]


def one_after_another(content: bytes) -> bytes:
    """A JPEG whose first scan is of one colour component."""
    start = content.index(b"\xff\xda\0\x0c\3")
    return content[:start] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + content[start + 14 :]


def with_before_scan(content: bytes, inserted: bytes) -> bytes:
    """A JPEG with something before the header of its scan."""
    start = content.index(b"\xff\xda")
    return content[:start] + inserted + content[start:]


def tiff(
    *changed: tuple[int, int, int, int], pixels: bytes = bytes(4096), big: bool = False
) -> bytes:
    """A grey TIFF of 64 × 64 pixels, with tags of ours: number, type, count and value."""
    head = 16 if big else 8
    sizes = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 277: 1, 278: 64, 279: 4096, 273: head}
    tags = [(tag, 4, 1, value) for tag, value in sizes.items()]
    tags = [tag for tag in tags if tag[0] not in {each[0] for each in changed}]
    start = head + len(pixels)
    tags = sorted([*tags, *changed], key=lambda tag: tag[0])
    if big:
        entries = b"".join(struct.pack("<HHQQ", *tag) for tag in tags)
        first = struct.pack("<2sHHHQ", b"II", 43, 8, 0, start)
        return first + pixels + struct.pack("<Q", len(tags)) + entries + bytes(8)
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    first = struct.pack("<2sHI", b"II", 42, start)
    return first + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


def tiled_tiff(tile: int, pixels: bytes = b"") -> bytes:
    """The same in one tile."""
    content = zlib.compress(pixels)
    numbers = {259: 8, 322: tile, 323: tile, 324: 8, 325: len(content)}
    tags = [(tag, 4, 1, number) for tag, number in numbers.items()]
    # Types that nobody knows: as if these were not there.
    none = [(tag, 99, 1, 0) for tag in (273, 279)]
    return tiff(*tags, *none, pixels=content)


def profile_of_elements(number: int) -> bytes:
    """A profile by which each colour goes through so many matrices."""
    matrix = b"matf" + bytes(4) + struct.pack(">HH12f", 3, 3, *np.eye(3).ravel(), 0, 0, 0)
    table = struct.pack(">II", 16 + 8 * number, len(matrix)) * number
    many = b"mpet" + bytes(4) + struct.pack(">HHI", 3, 3, number) + table + matrix
    name = "many".encode("utf-16-be")
    text = b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", len(name), 28) + name
    first = 128 + 4 + 24
    tags = struct.pack(">I", 2)
    tags += b"desc" + struct.pack(">II", first, len(text))
    tags += b"D2B0" + struct.pack(">II", first + len(text), len(many))
    white = struct.pack(">IIII", 0, 0xF6D6, 0x10000, 0xD32D)
    head = struct.pack(">I4sI", first + len(text) + len(many), b"lcms", 0x04300000)
    head += b"mntrRGB XYZ " + struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(24) + white
    return head.ljust(128, b"\0") + tags + text + many


def cut_jpeg(rows: int, **options: object) -> bytes:
    """A JPEG without so many of its last rows of blocks, that ends as a whole one does."""
    content = file(RGB, "JPEG", restart_marker_rows=1, subsampling=0, **options)
    ends = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", content)]
    return content[: ends[-rows]] + b"\xff\xd9"


def damaged_png() -> bytes:
    content = bytearray(file(RGB, "PNG"))
    content[200:300] = bytes(100)
    return bytes(content)


BAD: dict[str, tuple[Callable[[], bytes], type[Exception], str]] = {
    "no bytes": (lambda: b"", BadImageError, "empty"),
    "text": (lambda: b"hello, this is a letter", BadImageError, "accepted are PNG, JPEG"),
    "random bytes": (lambda: bytes(range(1, 255)), BadImageError, "not an image"),
    "web page": (lambda: b"<html><script>", BadImageError, "not an image"),
    "GIF": (lambda: file(RGB, "GIF"), UnsupportedImageError, "GIF"),
    "animated GIF": (lambda: animated("GIF"), UnsupportedImageError, "GIF"),
    "BMP": (lambda: file(RGB, "BMP"), UnsupportedImageError, "BMP"),
    "SVG": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnsupportedImageError, "SVG"),
    "PDF": (lambda: file(RGB, "PDF"), UnsupportedImageError, "PDF"),
    "HEIC": (lambda: b"\0\0\0\x18ftypheic" + bytes(64), UnsupportedImageError, "HEIF"),
    "PNG of a signature only": (lambda: file(RGB, "PNG")[:8], BadImageError, "truncated"),
    "truncated PNG": (lambda: file(RGB, "PNG")[:-900], BadImageError, "truncated"),
    "damaged PNG": (damaged_png, BadImageError, "damaged"),
    "PNG of fewer rows": (
        lambda: raw_png(struct.pack(">IIBBBBB", 200, 200, 8, 2, 0, 0, 0), bytes(601 * 199)),
        BadImageError,
        "the PNG file is truncated or damaged: its pixels end before the last row",
    ),
    "PNG of a smaller frame": (smaller_frame, BadImageError, "its pixels end before the last row"),
    "PNG of two headers": (
        lambda: (
            file(RGB, "PNG")[:33]
            + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 99, 8, 2, 0, 0, 0))
            + file(RGB, "PNG")[33:]
        ),
        BadImageError,
        "does not begin with its one header",
    ),
    "JPEG of half its bytes, and its end": (
        lambda: file(RGB, "JPEG")[: len(file(RGB, "JPEG")) * 2 // 3] + b"\xff\xd9",
        BadImageError,
        "truncated",
    ),
    "JPEG of fewer rows": (lambda: cut_jpeg(1), BadImageError, "truncated"),
    "JPEG of fewer rows, and a comment": (
        lambda: cut_jpeg(1)[:-2] + b"\xff\xfe\0\5abc\xff\xd9",
        BadImageError,
        "truncated",
    ),
    "truncated JPEG": (lambda: file(RGB, "JPEG")[:-200], BadImageError, "truncated"),
    "truncated WebP": (lambda: file(RGB, "WebP")[:-200], BadImageError, "truncated"),
    "truncated TIFF": (lambda: file(RGB, "TIFF")[:2000], BadImageError, "truncated"),
    "animated PNG": (lambda: animated("PNG"), BadImageError, "3 frames"),
    "animated WebP": (lambda: animated("WebP"), BadImageError, "3 frames"),
    "TIFF of pages": (lambda: animated("TIFF"), BadImageError, "several frames"),
    "PNG of many chunks": (
        lambda: file(RGB, "PNG")[:33] + chunk(b"tEXt", b"a\0b") * 1_000_000,
        BadImageError,
        "cut into more than 20000 parts",
    ),
    "JPEG of many segments": (
        lambda: file(RGB, "JPEG")[:2] + b"\xff\xe5\0\2" * 1_000_000,
        BadImageError,
        "cut into more than 20000 parts",
    ),
    "JPEG of empty bytes": (
        lambda: file(RGB, "JPEG")[:2] + b"\xff" * 1_000_000,
        BadImageError,
        "more than 1000 empty bytes before a marker",
    ),
    "JPEG of many scans": (endless_scans, BadImageError, "more than 60 scans"),
    "one pixel": (lambda: file(RGB[:1, :1], "PNG"), BadImageError, "1 × 1"),
    "31 pixels high": (lambda: file(RGB[:31], "PNG"), BadImageError, "at least 32"),
    "too wide": (lambda: file(Image.new("1", (8193, 32)), "PNG"), BadImageError, "at most 8192"),
    "too many pixels": (
        lambda: file(Image.new("1", (6000, 5000)), "PNG"),
        BadImageError,
        "at most 25 megapixels",
    ),
    "too many pixels for WebP": (
        lambda: file(Image.new("RGB", (4000, 2501)), "WebP"),
        BadImageError,
        "4000 × 2501 pixels; as WebP, .* at most 9.0[0-9] megapixels",
    ),
    "too many pixels for a progressive JPEG": (
        lambda: file(Image.new("RGB", (5000, 3501)), "JPEG", progressive=True, subsampling=0),
        BadImageError,
        "5000 × 3501 pixels; as a JPEG of several scans .* at most 15 megapixels",
    ),
    "too many pixels for scans one after another": (
        lambda: one_after_another(file(Image.new("RGB", (5000, 3501)), "JPEG", subsampling=0)),
        BadImageError,
        "5000 × 3501 pixels; as a JPEG of several scans .* at most 15 megapixels",
    ),
    "too many pixels for a TIFF": (
        lambda: file(Image.new("RGBA", (5000, 4376)), "TIFF", **ONE_STRIP),
        BadImageError,
        "5000 × 4376 pixels; as a TIFF of large strips, .* at most 18.8 megapixels",
    ),
    "too many pixels for a TIFF of YCbCr": (
        lambda: file(Image.new("YCbCr", (5000, 4376)), "TIFF", **ONE_STRIP),
        BadImageError,
        "5000 × 4376 pixels; as a TIFF of large strips, .* at most 18.8 megapixels",
    ),
    "too many pixels for a large WebP": (
        lambda: file(Image.new("RGB", (3900, 2500)), "WebP", lossless=True) + bytes(16 << 20),
        BadImageError,
        "3900 × 2500 pixels; as WebP, .* at most 7.2[0-9] megapixels",
    ),
    "TIFF of a million strips": (
        lambda: tiff((273, 1, 1_000_000, 8), (278, 4, 1, 1), pixels=bytes(1_000_000)),
        BadImageError,
        "cut into more than 20000 parts",
    ),
    "TIFF of a million tags": (
        lambda: tiff(*[(60000, 99, 1, 0)] * 1_000_000, big=True),
        BadImageError,
        "cut into more than 20000 parts",
    ),
    "TIFF of a million resolutions": (
        lambda: tiff((282, 5, 1_000_000, 8), pixels=bytes(8_000_000)),
        BadImageError,
        "cut into more than 20000 parts",
    ),
    "TIFF of megabytes that are no pixels": (
        lambda: tiff((305, 2, 9 << 20, 8), pixels=bytes(9 << 20)),
        BadImageError,
        "more than 8 MiB beside its pixels",
    ),
    "TIFF with three compressions": (
        lambda: tiff((259, 3, 3, 0x50005)),
        BadImageError,
        "tag 259 comes twice, or is no whole number",
    ),
    "TIFF with two widths": (
        lambda: tiff((256, 17, 1, 64), (256, 4, 1, 64), big=True),
        BadImageError,
        "tag 256 comes twice, or is no whole number",
    ),
    "TIFF turned by a fraction": (
        lambda: tiff((274, 11, 1, struct.unpack("<I", struct.pack("<f", 6))[0])),
        BadImageError,
        "tag 274 comes twice, or is no whole number",
    ),
    "TIFF compressed with any window": (
        lambda: tiff((259, 3, 1, 34925)),
        BadImageError,
        "compressed by method 34925; accepted are none, CCITT, LZW",
    ),
    "big-endian BigTIFF": (
        lambda: b"MM\0+\0\x08\0\0" + bytes(100),
        UnsupportedImageError,
        "big-endian BigTIFF format",
    ),
    "TIFF of a tile larger than the image": (
        lambda: tiled_tiff(16384),
        BadImageError,
        "64 × 64 pixels; as a TIFF of large strips, .* at most 0.00229 megapixels",
    ),
    "JPEG of many segments behind what is no marker": (
        lambda: with_before_scan(file(RGB, "JPEG"), b"\xda\0\0\0\3" + b"\xff\xe5\0\2" * 1_000_000),
        BadImageError,
        "cut into more than 20000 parts",
    ),
    "JPEG with a marker that has no length": (
        lambda: with_before_scan(file(RGB, "JPEG"), b"\xff\xd0"),
        BadImageError,
        "marker D0 before its pixels",
    ),
    "JPEG of megabytes that are no pixels": (
        lambda: with_before_scan(file(RGB, "JPEG"), (b"\xff\xe5\xff\xff" + bytes(65533)) * 130),
        BadImageError,
        "more than 8 MiB beside its pixels",
    ),
    "JPEG of many segments between its scans": (
        lambda: file(RGB, "JPEG")[:-2] + b"\xff\xe5\0\2" * 1_000_000,
        BadImageError,
        "cut into more than 20000 parts",
    ),
    "JPEG of many scans behind lengths that are none": (
        lambda: (
            file(RGB, "JPEG", progressive=True)[:-2]
            + (b"\xff\x02\xff\xff" + b"\xff\xda\0\2" * 10_000) * 3
        ),
        BadImageError,
        "more than 60 scans",
    ),
    "JPEG of EXIF data in pieces": (
        lambda: (
            file(RGB, "JPEG")[:2]
            + (b"\xff\xe1\x01\x92Exif\0\0" + bytes(394)) * 19_000
            + file(RGB, "JPEG")[2:]
        ),
        BadImageError,
        "EXIF data in more than 16 segments",
    ),
    "WebP of megabytes that are no pixels": (
        lambda: file(RGB, "WebP", xmp=bytes(9 << 20)),
        BadImageError,
        "more than 8 MiB beside its pixels",
    ),
    "PNG of texts that expand": (
        lambda: (
            file(RGB, "PNG")[:33]
            + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20))) * 5
            + file(RGB, "PNG")[33:]
        ),
        BadImageError,
        "more than 4 MiB beside its pixels",
    ),
    "PNG of much XMP": (
        lambda: (
            file(RGB, "PNG")[:33]
            + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b" " * (5 << 20))
            + file(RGB, "PNG")[33:]
        ),
        BadImageError,
        "more than 4 MiB beside its pixels, such as EXIF data, previews or texts: save it without",
    ),
    "PNG of a text that expands": (
        lambda: (
            file(RGB, "PNG")[:33]
            + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(5 << 20)))
            + file(RGB, "PNG")[33:]
        ),
        BadImageError,
        "more than 4 MiB beside its pixels",
    ),
    "PNG of megabytes that are no pixels": (
        lambda: file(RGB, "PNG")[:33] + chunk(b"eXIf", bytes(9 << 20)) + file(RGB, "PNG")[33:],
        BadImageError,
        "more than 8 MiB beside its pixels",
    ),
    "bomb": (bomb, BadImageError, "30000 × 30000"),
    "float TIFF": (
        lambda: file(GREY.astype(np.float32), "TIFF"),
        BadImageError,
        "samples of 32 bits",
    ),
    "too many bytes": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(26 << 20), TooLargeError, "at most"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_told_what_is_wrong_with_it(kind: str) -> None:
    make, error, words = BAD[kind]
    content = make()
    with pytest.raises(error, match=words):
        decode(content, OWN_LIMITS)  # which would be told of, too


@pytest.mark.parametrize(("colour", "bits", "lace"), PNG_KINDS)
def test_a_png_of_any_kind_has_all_its_pixels(colour: int, bits: int, lace: int) -> None:
    decoded = decode(white_png(colour, bits, lace), LIMITS)
    np.testing.assert_array_equal(pixels(decoded.png), np.full((33, 37, 3), 255, np.uint8))
    with pytest.raises(BadImageError, match="its pixels end before the last row"):
        decode(white_png(colour, bits, lace, cut=1), LIMITS)


def test_bytes_behind_the_last_row_are_passed_over() -> None:
    decoded = decode(white_png(2, 8, 0, behind=bytes(5000)), LIMITS)
    np.testing.assert_array_equal(pixels(decoded.png), np.full((33, 37, 3), 255, np.uint8))


def test_pixels_that_take_few_bytes_are_all_there() -> None:
    """What a few bytes expand to is more than is looked at in one go."""
    content = raw_png(struct.pack(">IIBBBBB", 5000, 4999, 8, 2, 0, 0, 0), bytes(15001 * 4999))
    assert decode(content, LIMITS).height == 4999


ODD_JPEGS: dict[str, Callable[[bytes], bytes]] = {
    "nothing odd": lambda content: content,
    "bytes before the end": lambda content: content[:-2] + b"abc\xff\0" * 9 + content[-2:],
    "empty bytes before the end": lambda content: content[:-2] + b"\xff" * 9 + content[-2:],
    "a comment before the end": lambda content: content[:-2] + b"\xff\xfe\0\5abc" + content[-2:],
    "another picture behind the end": lambda content: content + file(RGB, "JPEG"),
}


@pytest.mark.parametrize("odd", ODD_JPEGS)
@pytest.mark.parametrize(
    "options",
    [
        *({}, {"progressive": True}, {"optimize": True}, {"quality": 100, "subsampling": 0}),
        *({"restart_marker_blocks": 3}, {"restart_marker_rows": 1}),
    ],
    ids=str,
)
def test_an_odd_jpeg_has_all_its_pixels(odd: str, options: dict[str, object]) -> None:
    content = file(RGB[:33, :37], "JPEG", **options)
    expected = np.asarray(Image.open(io.BytesIO(content)))
    decoded = decode(ODD_JPEGS[odd](content), LIMITS)
    np.testing.assert_array_equal(pixels(decoded.png), expected)


def test_a_damaged_header_is_told_in_words() -> None:
    content = bytearray(file(RGB, "PNG"))
    content[20] ^= 0xFF
    with pytest.raises(BadImageError, match=r"damaged .* \(its header cannot be read\)$"):
        decode(bytes(content), LIMITS)


def test_decoding_that_takes_too_much_memory_or_time_is_given_up() -> None:
    content = file(Image.effect_noise((3000, 3000), 64).convert("RGB"), "JPEG")
    small = replace(LIMITS, memory_bytes=64 << 20)
    with pytest.raises(BadImageError, match="more memory or time"):
        decode(content, small)
    with pytest.raises(BadImageError, match=r"more than 0\.01 s"):
        decode(content, replace(LIMITS, seconds=0.01))


def test_the_largest_image_is_decoded_within_its_limits() -> None:
    ramp = Image.linear_gradient("L").resize((5000, 5000))
    content = file(Image.merge("RGB", (ramp, ramp.rotate(90), ramp.rotate(180))), "JPEG")
    decoded = decode(content, LIMITS)
    assert (decoded.width, decoded.height) == (5000, 5000)


@pytest.mark.parametrize("keep_alpha", [True, False])
@pytest.mark.parametrize(
    "kind", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "RGB, profile", "RGBA, profile", "RGB, turned"]
)
def test_the_largest_image_needs_little_memory(kind: str, keep_alpha: bool) -> None:
    mode, _, further = kind.partition(", ")
    image = Image.new(mode, (5000, 5000))
    options: dict[str, Any] = {"icc_profile": swapped_profile()} if further == "profile" else {}
    if further == "turned":
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6
    if mode == "P":
        options["transparency"] = 0
    content = file(image, "JPEG" if mode == "CMYK" else "PNG", compress_level=1, **options)
    # Of the address space, the interpreter and its libraries take about 40 MB.
    decoded = decode(content, replace(LIMITS, memory_bytes=180_000_000), keep_alpha=keep_alpha)
    assert (decoded.width, decoded.height) == (5000, 5000)


@pytest.mark.parametrize(
    ("mode", "form", "size", "options"),
    [
        ("RGB", "WebP", (3600, 2500), {}),
        ("RGBA", "WebP", (3600, 2500), {}),
        ("RGB", "JPEG", (5000, 3000), {"progressive": True, "subsampling": 0}),
        ("CMYK", "JPEG", (5000, 2500), {"progressive": True, "subsampling": 0}),
        ("RGB", "JPEG", (5000, 4280), {"progressive": True, "subsampling": 2}),
        ("L", "JPEG", (5000, 5000), {"progressive": True}),
        ("RGB", "TIFF", (5000, 4280), ONE_STRIP),
        ("RGBA", "TIFF", (5000, 3750), ONE_STRIP),
        ("L", "TIFF", (5000, 5000), ONE_STRIP),
        ("RGB", "TIFF", (5000, 5000), TURNED),
        ("1", "TIFF", (4000, 5000), {"compression": "group4", "tiffinfo": {0x0112: 6}}),
    ],
)
def test_the_largest_of_what_takes_more_memory_needs_little(
    mode: str, form: str, size: tuple[int, int], options: dict[str, Any]
) -> None:
    content = file(Image.new(mode, size), form, **options)
    decoded = decode(content, replace(LIMITS, memory_bytes=225_000_000), keep_alpha=True)
    is_turned = "tiffinfo" in options
    assert (decoded.width, decoded.height) == (size[::-1] if is_turned else size)
    assert (decoded.source["width"], decoded.source["height"]) == size
    assert ("EXIF orientation 6 applied" in decoded.source["conversions"]) == is_turned


@pytest.mark.parametrize("inserted", [b"\xff\xff", b"not a marker"])
def test_bytes_that_fill_a_header_are_passed_over(inserted: bytes) -> None:
    large = file(Image.new("RGB", (5000, 4000)), "JPEG", subsampling=0)
    assert decode(with_before_scan(large, inserted), LIMITS) == decode(large, LIMITS)


def test_empty_bytes_between_scans_take_no_time() -> None:
    content = file(RGB, "JPEG", progressive=True)
    decode(content[:-2] + b"\xff" * 20_000_000 + b"\0" + content[-2:], OWN_LIMITS)


def test_a_film_behind_a_photo_is_passed_over() -> None:
    photo = file(RGB, "JPEG", progressive=True)
    film = np.random.default_rng(1).bytes(10_000_000)
    assert decode(photo + film, LIMITS) == decode(photo, LIMITS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_as_a_jpeg_is(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = decode(file(RGB, "TIFF", exif=exif), LIMITS)
    as_png = decode(file(RGB, "PNG", exif=exif), LIMITS)
    assert turned.png == as_png.png
    assert turned.source["conversions"] == as_png.source["conversions"]
    compressed = decode(file(RGB, "TIFF", exif=exif, compression="tiff_lzw"), LIMITS)
    assert compressed == turned


def test_a_profile_that_takes_seconds_for_a_colour_is_dropped() -> None:
    decoded = decode(file(RGB, "PNG", icc_profile=profile_of_elements(60_000)), LIMITS)
    assert decoded.source["conversions"] == ["unusable ICC profile dropped"]
    np.testing.assert_array_equal(pixels(decoded.png), RGB)


def test_a_large_profile_that_is_none_is_dropped() -> None:
    noise = np.random.default_rng(1).bytes(1_200_000)
    decoded = decode(file(RGB, "PNG", icc_profile=noise), LIMITS)
    assert decoded.source["conversions"] == ["unusable ICC profile dropped"]


def test_a_tile_may_be_larger_than_the_image() -> None:
    decoded = decode(tiled_tiff(256, bytes([7]) * 256**2), LIMITS)
    np.testing.assert_array_equal(pixels(decoded.png), np.full((64, 64, 3), 7))


def test_a_decoder_that_fails_while_it_answers_gives_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "decoder.py"
    program.write_text("print('{\"width\": 40}', flush=True)\nraise MemoryError")
    monkeypatch.setattr(decoding, "_DECODER", program)
    with pytest.raises(BadImageError, match="more memory or time"):
        decode(file(RGB, "PNG"), LIMITS)


def test_a_full_disk_is_no_fault_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = json.dumps({"limits": asdict(LIMITS), "keep_alpha": False})
    with Path("/dev/full").open("wb") as full:
        answered = subprocess.run(
            [sys.executable, "-I", decoding._DECODER, request],
            input=file(RGB, "PNG"),
            stdout=full,
            check=False,
        )
    program = tmp_path / "decoder.py"
    program.write_text(f"raise SystemExit({answered.returncode})")
    monkeypatch.setattr(decoding, "_DECODER", program)
    with pytest.raises(DiskFullError, match="no room for a decoded image"):
        decode(file(RGB, "PNG"), LIMITS)
