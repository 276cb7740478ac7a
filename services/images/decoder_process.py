"""The program that decodes one untrusted image file: standard input to standard output.

Run as a file in an isolated interpreter by `services.images.decoding`; it imports the
standard library and Pillow only. Its argument is JSON: the limits, and whether transparency is
to be kept. It answers one line of JSON and, if all went well, the PNG file and 64 characters, the
digest of its pixels; it exits 1 if not, and 3 where the disk has no room for the answer.

Pillow takes 4 bytes for a pixel of RGB or CMYK, 100 MB for 25 megapixels. So the decoded image is
there once: what is to be done to it is done a strip at a time, as the PNG is written.

What a file is made of is counted before Pillow sees it, as its plugins read all of it at once.
"""

import errno
import io
import json
import os
import re
import resource
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Any, BinaryIO, Literal

from PIL import Image, ImageCms, ImageFile, PngImagePlugin, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile, putchunk
from PIL.TiffImagePlugin import TiffImageFile

# TIFF and PNG samples of other kinds (floating point, 32 bits, Lab) have no agreed range.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
MAX_OUTPUT = 1 << 28
STRIP = 64  # rows
ORIENTATION = 0x0112  # the tag of EXIF, and of TIFF
# What sets each EXIF orientation right, and how the image lies until then: whether its columns
# are rows, and whether what is to be the last row comes first.
TURNS = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, False, False),
    3: (Image.Transpose.ROTATE_180, False, True),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, False, True),
    5: (Image.Transpose.TRANSPOSE, True, False),
    6: (Image.Transpose.ROTATE_270, True, False),
    7: (Image.Transpose.TRANSVERSE, True, True),
    8: (Image.Transpose.ROTATE_90, True, True),
}
NO_ROOM = 3
# Bytes that the libraries may hold of the pixels while they decode them, for each pixel of the
# largest image: 150 MB of 25 megapixels.
MOST_HELD = 6.0
PILLOW_HOLDS = {"1": 1.0, "L": 1.0, "P": 1.0, "I;16": 2.0, "I;16B": 2.0}  # any other mode: 4
LIBWEBP_HOLDS = 12.5
LIBWEBP_COPIES = 2.5  # of the file
COEFFICIENT = 2  # bytes
# Libraries read these one by one, and a file of 25 MB may have millions: more than any camera or
# program writes.
MOST_PARTS = 20_000  # chunks of a PNG or WebP, segments of a JPEG, values of a tag of a TIFF
MOST_BESIDE = 8 << 20  # bytes in those that hold no pixels: they are copied as they are read
MOST_TEXT = 4 << 20  # characters of a PNG's texts, and bytes of its profile, expanded
MOST_EXIF = 1 << 20  # bytes
MOST_FILL = 1000  # bytes before a marker of a JPEG
# Samples of a PNG's pixel, by its colour type; and the pixels of an interlaced one's passes: the
# first column and row, and the steps from one to the next.
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
WHOLE = ((0, 0, 1, 1),)
PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
PORTION = 1 << 12  # of compressed bytes: it expands to 4 MiB at most
# Markers of segments that may come before a JPEG's pixels: tables, frames, applications' data.
SOS, EOI, APP1 = 0xDA, 0xD9, 0xE1
HUFFMAN_SEQUENTIAL = (0xC0, 0xC1)  # frames
SEGMENTS = {*range(0xC0, 0xD0), SOS, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE} - {0xC8}
# Markers behind them, which stand among pixels; those of one byte are passed over.
MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
MOST_SCANS = 60  # of a progressive JPEG; each goes over all pixels
# Bits that are no code of a JPEG, as many as libjpeg reads ahead.
PADDING = b"\xff\0" * 16
MOST_EXIF_SEGMENTS = 16  # Pillow copies what it has of them for each
# The first directory of a TIFF: more tags than have names; bytes of a value, by its type; and
# what the size of what libtiff holds is reckoned from.
MOST_TAGS = 1000
VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
VALUE_BYTES |= {13: 4, 16: 8, 17: 8, 18: 8}
MEASURES = {256, 257, 258, 259, 262, 274, 277, 278, 284, 322, 323}
WHOLE_NUMBERS = {3, 4, 16}  # types
MOST_SAMPLES = 8  # of a pixel
PLACES = {273, 279, 324, 325}  # of strips and tiles, and their sizes
# LZMA and Zstandard may ask for a window of any size, whatever the image's.
COMPRESSIONS = {1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946}


class BadImage(Exception):  # noqa: N818 - an answer, not a failure
    """Why the file is refused, in words for the person who sent it."""


def restrict(limits: dict[str, Any]) -> None:
    """Give up what decoding does not need; nothing raises these limits again."""
    for kind, limit in (
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
        (resource.RLIMIT_FSIZE, MAX_OUTPUT),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


class Picture:
    """A decoded image, and what is to be done to it."""

    def __init__(self, image: Image.Image) -> None:
        self.size = image.im.size
        self._image = image
        self._turn: tuple[Image.Transpose | None, bool, bool] = (None, False, False)
        self._steps: list[Callable[[Image.Image], Image.Image]] = []

    def turn(self, orientation: int) -> None:
        """Set it upright."""
        self._turn = TURNS[orientation]
        if self._turn[1]:
            self.size = self.size[::-1]

    def then(self, step: Callable[[Image.Image], Image.Image]) -> None:
        """Do one thing more, to each strip."""
        self._steps.append(step)

    def strips(self) -> Iterator[Image.Image]:
        """All of it from top to bottom, `STRIP` rows at a time."""
        method, by_columns, from_end = self._turn
        width, height = self.size
        for top in range(0, height, STRIP):
            bottom = min(top + STRIP, height)
            first, last = (height - bottom, height - top) if from_end else (top, bottom)
            box = (first, 0, last, width) if by_columns else (0, first, width, last)
            strip = self._image.crop(box)
            if method is not None:
                strip = strip.transpose(method)
            for step in self._steps:
                strip = step(strip)
            yield strip

    def sample(self) -> Image.Image:
        """The first strip."""
        return next(self.strips())


def decode(
    content: bytes, limits: dict[str, Any], *, keep_alpha: bool
) -> tuple[Picture, str, dict[str, Any]]:
    """The picture with 8 bits per sample; the mode to keep it in, RGB, or RGBA if transparency is
    kept and there is some; what it was.
    """
    Image.MAX_IMAGE_PIXELS = None  # checked below, with words of our own
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MOST_TEXT
    # Which would turn the image, and read directories that nobody needs.
    TiffImageFile.load_end = ImageFile.ImageFile.load_end  # type: ignore[method-assign]
    check_parts(content)
    file = io.BytesIO(content)
    image: Image.Image = Image.open(file, formats=["PNG", "JPEG", "WEBP", "TIFF"])
    check_size(image, content, limits)
    conversions: list[str] = []
    bits = bits_per_sample(image, content)
    width, height = size_of(image)
    source = {
        # A phone's JPEG may carry further pictures (depth, gain map): an MPO file.
        "format": {"MPO": "JPEG", "WEBP": "WebP"}.get(str(image.format), image.format),
        "mode": image.mode,
        "bits": bits,
        "width": width,
        "height": height,
        "conversions": conversions,
    }
    frames = count_frames(image)
    if frames > 1 and image.format != "MPO":
        raise BadImage(
            f"the {source['format']} file is animated or has several pages "
            f"({'several' if image.format == 'TIFF' else frames} frames); one frame is accepted: "
            "save the one you mean"
        )
    if frames > 1:
        conversions.append(f"first of {frames} pictures taken")
    if isinstance(image, TiffImageFile):  # its file is closed with the last pixel
        with suppress(TypeError):  # XMP data that are no bytes
            image.getexif()
    if isinstance(image, PngImageFile):
        check_rows(image, content)
    elif isinstance(image, JpegImageFile) and has_one_scan(image, content):
        take_end(file, content)
    image.load()
    picture = Picture(image)
    turn_upright(picture, image, conversions)
    eight_bits(picture, image.mode, bits, conversions)
    mode = "RGB"
    if picture.sample().has_transparency_data:
        picture.then(with_colours)
        if any(has_alpha(strip) for strip in picture.strips()):
            if keep_alpha:
                mode = "RGBA"
            else:
                picture.then(over_white)
                conversions.append("transparency laid over white")
    to_srgb(picture, image.info.get("icc_profile"), conversions)
    return picture, mode, source


def check_parts(content: bytes) -> None:
    """Refuse a file of very many parts, or with much beside its pixels, before one is read."""
    if content.startswith(b"\xff\xd8"):
        sizes: Iterator[int] = (size for _, _, size in segments_of_jpeg(content))
        check_exif_and_scans(content)
    elif content.startswith(b"\x89PNG"):
        sizes = (0 if kind == b"IDAT" else size for kind, _, size in chunks_of_png(content))
    elif content.startswith(b"RIFF"):
        sizes = chunks_of_webp(content)
    else:
        sizes = tags_of_tiff(content)
    beside = 0
    for number, size in enumerate(sizes, start=1):
        beside += size
        if number > max(MOST_PARTS, len(content) >> 10):  # a large PNG has many chunks of pixels
            raise too_many_parts()
        if beside > MOST_BESIDE:
            raise too_much_beside(MOST_BESIDE)


def too_many_parts() -> BadImage:
    """What a file of very many parts is told."""
    return BadImage(f"the file is cut into more than {MOST_PARTS} parts: save it anew")


def too_much_beside(most: int) -> BadImage:
    """What a file is told that holds more bytes than that beside its pixels."""
    return BadImage(
        f"the file has more than {most >> 20} MiB beside its pixels, such as EXIF data, previews "
        "or texts: save it without them"
    )


def chunks_of_png(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks: the kind, where the content begins, and its bytes."""
    start = 8
    while start < len(content):
        size = int.from_bytes(content[start : start + 4], "big")
        kind = content[start + 4 : start + 8]
        yield kind, start + 8, min(size, len(content) - start)
        if kind == b"IEND":
            return
        start += 12 + size


def check_rows(image: PngImageFile, content: bytes) -> None:
    """Refuse a PNG of fewer pixels than its header says: Pillow leaves black what is missing."""
    missing = bytes_of_rows(content)
    inflater = zlib.decompressobj()
    if image.tile[0].extents == (0, 0, *image.size):  # an animation's frame may be smaller
        for portion in pixels_of_png(content):
            missing -= len(inflater.decompress(portion, missing))
            if missing == 0:
                return
            if inflater.eof:
                break
    raise BadImage("the PNG file is truncated or damaged: its pixels end before the last row")


def bytes_of_rows(content: bytes) -> int:
    """The bytes that a PNG's pixels expand to, by its header."""
    headers = [start for kind, start, _ in chunks_of_png(content) if kind == b"IHDR"]
    if headers != [16]:
        raise BadImage("the PNG file is damaged: it does not begin with its one header")
    width, height, bits, colours, _, _, is_interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    total = 0
    for left, top, across, down in PASSES if is_interlaced else WHOLE:
        columns, rows = len(range(left, width, across)), len(range(top, height, down))
        row = (columns * PNG_SAMPLES[colours] * bits + 7) // 8
        total += rows * (1 + row) if columns else 0
    return total


def pixels_of_png(content: bytes) -> Iterator[bytes]:
    """The compressed pixels."""
    for kind, start, size in chunks_of_png(content):
        if kind == b"IDAT":
            for place in range(start, start + size, PORTION):
                yield content[place : min(place + PORTION, start + size)]


def chunks_of_webp(content: bytes) -> Iterator[int]:
    """The bytes of each chunk, 0 where they are pixels."""
    start, end = 12, min(8 + int.from_bytes(content[4:8], "little"), len(content))
    while start < end:
        kind = content[start : start + 4]
        size = int.from_bytes(content[start + 4 : start + 8], "little")
        is_pixels = kind in (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANMF")
        yield 0 if is_pixels else min(size, end - start)
        start += 8 + size + size % 2


def tags_of_tiff(content: bytes) -> Iterator[int]:
    """The bytes of each tag's values, in the first directory.

    A tag that memory depends on is refused where Pillow and libtiff could read it differently.
    """
    order: Literal["little", "big"] = "little" if content.startswith(b"II") else "big"

    def number(start: int, size: int) -> int:
        return int.from_bytes(content[start : start + size], order)

    is_big = content[2:4] == b"+\0"
    count_size, value_size = (8, 8) if is_big else (2, 4)
    start = number(8 if is_big else 4, value_size)
    tags = number(start, count_size)
    if tags > MOST_TAGS:
        raise too_many_parts()
    seen = set()
    for place in range(tags):
        at = start + count_size + place * (4 + 2 * value_size)
        tag, kind, values = number(at, 2), number(at + 2, 2), number(at + 4, value_size)
        size = values * VALUE_BYTES.get(kind, 0)
        most = MOST_SAMPLES if tag == 258 else 1
        if tag in MEASURES and (tag in seen or kind not in WHOLE_NUMBERS or values > most):
            raise BadImage(f"the TIFF file's tag {tag} comes twice, or is no whole number: damaged")
        if tag == 259:
            used = number(at + 4 + value_size, VALUE_BYTES[kind])
            if used not in COMPRESSIONS:
                raise BadImage(
                    f"the TIFF file is compressed by method {used}; accepted are none, CCITT, LZW, "
                    "Deflate, JPEG and PackBits"
                )
        seen.add(tag)
        # Bytes stay bytes; of others each value becomes an object.
        if values > MOST_PARTS and (tag in PLACES or size > values):
            raise too_many_parts()
        yield size


def segments_of_jpeg(content: bytes) -> Iterator[tuple[int, int, int]]:
    """The segments up to the first scan: the marker, where its length stands, and its bytes.

    Between them, bytes that are no marker are passed over as libjpeg and Pillow do.
    """
    start = 2
    while start < len(content):
        place = content.find(b"\xff", start, start + MOST_FILL)
        while place >= 0 and content[place : place + 1] == b"\xff" and place <= start + MOST_FILL:
            place += 1
        if not start < place <= min(start + MOST_FILL, len(content) - 1):
            raise BadImage(
                f"the JPEG file has more than {MOST_FILL} empty bytes before a marker, or no pixels"
            )
        marker, place = content[place], place + 1
        if marker == EOI:
            return
        if marker not in SEGMENTS:  # one without a length, or one that nobody knows
            raise BadImage(f"the JPEG file has a marker {marker:02X} before its pixels: damaged")
        size = int.from_bytes(content[place : place + 2], "big")
        yield marker, place, size
        if marker == SOS:
            return
        start = place + max(size, 2)


def check_exif_and_scans(content: bytes) -> None:
    """Refuse a JPEG with EXIF data in many segments, or of very many scans."""
    exif = 0
    for parts, (marker, place, _) in enumerate(segments_of_jpeg(content)):
        exif += marker == APP1 and content.startswith(b"Exif\0\0", place + 2)
        if exif > MOST_EXIF_SEGMENTS:
            raise BadImage(
                f"the JPEG file has EXIF data in more than {MOST_EXIF_SEGMENTS} segments: save it "
                "without them"
            )
        if parts > MOST_PARTS:
            raise too_many_parts()
    scans = parts = 1
    start = first_scan(content)
    # To the end of the picture: a phone may have put a film behind it.
    while (found := MARKER.search(content, start)) and found[1][0] != EOI:
        scans += found[1][0] == SOS
        parts += 1
        if scans > MOST_SCANS:
            raise BadImage(f"the JPEG file has more than {MOST_SCANS} scans")
        if parts > MOST_PARTS:
            raise too_many_parts()
        start = place = found.end()
        if found[1][0] in SEGMENTS:  # what nobody knows has no length to be believed
            start += max(int.from_bytes(content[place : place + 2], "big"), 2)


def first_scan(content: bytes) -> int:
    """Where the header of a JPEG's first scan begins, behind its marker."""
    for marker, place, _ in segments_of_jpeg(content):
        if marker == SOS:
            return place
    raise BadImage("the JPEG file has no pixels")


def has_one_scan(image: JpegImageFile, content: bytes) -> bool:
    """Whether a JPEG has all its colours in its first scan, as they are to be."""
    return "progressive" not in image.info and content[first_scan(content) + 2] == len(image.layer)


def take_end(file: BinaryIO, content: bytes) -> None:
    """Take what ends the one scan of a JPEG: before it, libjpeg greys out what is missing.

    Without it, what is missing is waited for, as in a file that is cut.
    """
    if not any(marker in HUFFMAN_SEQUENTIAL for marker, _, _ in segments_of_jpeg(content)):
        return  # libjpeg does not wait for arithmetic codes
    header = first_scan(content)
    size = int.from_bytes(content[header : header + 2], "big")
    if end := MARKER.search(content, header + size):
        file.seek(end.start())
        file.truncate()
        file.write(PADDING)


def count_frames(image: Image.Image) -> int:
    """Pictures in the file; of a TIFF, which may have millions, 2 stands for all above 1."""
    if isinstance(image, TiffImageFile):
        return 2 if image.is_animated else 1
    return int(getattr(image, "n_frames", 1))


def check_size(image: Image.Image, content: bytes, limits: dict[str, Any]) -> None:
    """Refuse by the header alone, before any pixel is decoded."""
    width, height = size_of(image)
    size = f"the image is {width} × {height} pixels"
    if min(width, height) < limits["min_side"]:
        raise BadImage(f"{size}; each side must have at least {limits['min_side']}")
    if max(width, height) > limits["max_side"]:
        raise BadImage(f"{size}; each side may have at most {limits['max_side']}")
    if width * height > limits["max_pixels"]:
        raise BadImage(f"{size}; at most {limits['max_pixels'] / 1e6:g} megapixels are accepted")
    kind, library_holds = held_besides(image, content)
    held = PILLOW_HOLDS.get(image.mode, 4.0) + library_holds
    most = MOST_HELD / held * limits["max_pixels"]
    if width * height > most:
        raise BadImage(
            f"{size}; as {kind}, which takes more memory to decode than others, at most "
            f"{most / 1e6:.3g} megapixels are accepted: save it as PNG or as baseline JPEG"
        )


def size_of(image: Image.Image) -> tuple[int, int]:
    """Width and height as they are in the file: of a TIFF, Pillow tells them turned upright."""
    if isinstance(image, TiffImageFile):
        return number_of(image, 256, 0), number_of(image, 257, 0)
    return image.size


def held_besides(image: Image.Image, content: bytes) -> tuple[str, float]:
    """What the file is, and the bytes for each pixel that its library holds beside Pillow."""
    width, height = size_of(image)
    if isinstance(image, JpegImageFile):
        sampling = [(across, down) for _, across, down, _ in image.layer]
        if has_one_scan(image, content):
            return "JPEG", 0.0
        finest = max(across for across, _ in sampling) * max(down for _, down in sampling)
        samples = sum(across * down for across, down in sampling) / max(finest, 1)
        return "a JPEG of several scans (progressive)", COEFFICIENT * samples
    if image.format == "WEBP":
        return "WebP", LIBWEBP_HOLDS + LIBWEBP_COPIES * len(content) / (width * height)
    if isinstance(image, TiffImageFile):
        return "a TIFF of large strips", strip_bytes(image, content) / (width * height)
    return "PNG", 0.0


def strip_bytes(image: TiffImageFile, content: bytes) -> float:
    """What libtiff holds: one strip, or one tile, all of it decoded."""
    width, height = size_of(image)
    if 322 in image.tag_v2:
        pixels = number_of(image, 322, width) * number_of(image, 323, height)
    else:
        pixels = width * min(number_of(image, 278, height), height)
    planes = 1 if number_of(image, 284, 1) == 2 else number_of(image, 277, 1)
    sample = bits_per_sample(image, content) / 8 * planes
    is_read_as_rgba = number_of(image, 262, 0) == 6 and number_of(image, 259, 1) != 7
    return pixels * (max(sample, 4.0) if is_read_as_rgba else sample)


def number_of(image: TiffImageFile, tag: int, otherwise: int) -> int:
    """What a tag says that can only be a positive whole number."""
    value = image.tag_v2.get(tag)
    return value if isinstance(value, int) and value > 0 else otherwise


def bits_per_sample(image: Image.Image, content: bytes) -> int:
    """Bits of one sample in the file."""
    if image.format == "PNG":
        return content[24]
    if isinstance(image, TiffImageFile):
        return int(max(image.tag_v2.get(258, (1,))))
    return 8


def turn_upright(picture: Picture, image: Image.Image, conversions: list[str]) -> None:
    """Apply the EXIF orientation."""
    try:
        if len(image.info.get("exif", b"")) > MOST_EXIF:
            raise ValueError  # noqa: TRY301 - as unreadable as any other
        orientation = image.getexif().get(ORIENTATION, 1)
        if orientation in TURNS:
            picture.turn(orientation)
            conversions.append(f"EXIF orientation {orientation} applied")
    except Exception:  # noqa: BLE001 - a broken EXIF block is no reason to refuse the pixels
        conversions.append("unreadable EXIF data ignored")


def eight_bits(picture: Picture, mode: str, bits: int, conversions: list[str]) -> None:
    """Samples of 16 bits keep their high byte, as Pillow does for colour."""
    if bits == 16:
        conversions.append("16 bits per sample scaled to 8")
    if mode.startswith("I;16"):
        high = 0 if mode.endswith("B") else 1
        picture.then(lambda strip: Image.frombytes("L", strip.size, strip.tobytes()[high::2]))
    elif mode not in MODES or bits > 16:
        raise BadImage(
            f"samples of {bits} bits in mode {mode} are not accepted: save the image with "
            "8 or 16 bits per sample in RGB or grey"
        )


def with_colours(strip: Image.Image) -> Image.Image:
    """What has transparency, as RGBA."""
    return strip if strip.mode == "RGBA" else strip.convert("RGBA")


def has_alpha(strip: Image.Image) -> bool:
    """Whether any pixel of an RGBA image is not opaque."""
    return strip.getchannel("A").getextrema() != (255, 255)


def over_white(strip: Image.Image) -> Image.Image:
    """An RGBA image laid over white: opaque."""
    return Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip)


def to_srgb(picture: Picture, profile: bytes | None, conversions: list[str]) -> None:
    """Convert to RGB: through the ICC profile where it is good and says something new."""
    mode = picture.sample().mode
    if mode in ("1", "P", "PA", "RGBX", "YCbCr"):
        conversions.append(f"{mode} converted to RGB")
        picture.then(lambda strip: strip.convert("RGB"))
        mode = "RGB"
    has_colours = mode in ("RGB", "RGBA")
    if profile:
        try:
            # Elements of "multiProcessElementsType" may be so many that each colour takes seconds.
            if b"mpet" in profile:
                raise ValueError  # noqa: TRY301 - as unusable as a broken one
            described = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            name = ImageCms.getProfileDescription(described).lower().replace(" ", "")
            if not has_colours or "srgb" not in name:
                wanted = mode if has_colours else "RGB"
                srgb = ImageCms.createProfile("sRGB")
                transform = ImageCms.buildTransform(described, srgb, mode, wanted)
                transform.apply(picture.sample())
                picture.then(transform.apply)
                was = "RGB" if has_colours else mode
                conversions.append(f"{was} converted to sRGB by the ICC profile")
                return
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            conversions.append("unusable ICC profile dropped")
    if not has_colours:
        conversions.append(f"{mode} converted to RGB")
        picture.then(lambda strip: strip.convert("RGB"))


def main() -> int:
    """Decode standard input."""
    request = json.loads(sys.argv[1])
    limits = request["limits"]
    content = sys.stdin.buffer.read()
    restrict(limits)
    out = sys.stdout.buffer
    try:
        picture, mode, source = decode(content, limits, keep_alpha=request["keep_alpha"])
    except BadImage as refusal:
        out.write(json.dumps({"error": str(refusal)}).encode())
        return 1
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise anything on damaged files
        out.write(json.dumps({"error": fault(error)}).encode())
        return 1
    width, height = picture.size
    try:
        answer = {"width": width, "height": height, "source": source}
        out.write(json.dumps(answer).encode() + b"\n")
        out.write(write_png(picture, mode, out).encode())
        out.flush()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os._exit(NO_ROOM)  # what is left in the buffer has no room either
    return 0


def fault(error: Exception) -> str:
    """What is wrong with the file, if a decoder stumbled over it so."""
    if "MAX_TEXT_" in str(error):  # the limits that `decode` has set
        return str(too_much_beside(MOST_TEXT))
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    if isinstance(error, UnidentifiedImageError):  # its own words are an address in memory
        reason = "its header cannot be read"
    return f"the image file is truncated or damaged and cannot be decoded ({reason})"


def write_png(picture: Picture, mode: str, out: BinaryIO) -> str:
    """Write it in `mode`; its digest, as `services.images.decoding.pixel_digest` has it."""
    width, height = picture.size
    digest = sha256(f"{width}x{height} {mode}\n".encode())
    # As Pillow has it for filtered rows; levels above cost more time than they save bytes.
    compressor = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    kind = {"RGB": 2, "RGBA": 6}[mode]
    out.write(b"\x89PNG\r\n\x1a\n")
    putchunk(out, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))
    above = Image.new(mode, (width, 1))
    for strip in picture.strips():
        digest.update(strip.tobytes("raw", mode))
        compressed = compressor.compress(filtered(strip, above, mode))
        if compressed:
            putchunk(out, b"IDAT", compressed)
        above = strip.crop((0, strip.height - 1, width, strip.height))
    putchunk(out, b"IDAT", compressor.flush())
    putchunk(out, b"IEND", b"")
    return digest.hexdigest()


def filtered(strip: Image.Image, above: Image.Image, mode: str) -> bytes:
    """Its rows as a PNG file has them before they are compressed, below the row `above`."""
    both = Image.new(strip.mode, (strip.width, strip.height + 1))
    both.paste(above, (0, 0))
    both.paste(strip, (0, 1))
    both.encoderconfig = (False, 0, -1, b"")  # not compressed yet
    stored = io.BytesIO()
    ImageFile._save(both, stored, [ImageFile._Tile("zip", (0, 0, *both.size), 0, mode)])
    rows = zlib.decompress(stored.getbuffer())
    return rows[len(rows) // both.height :]


if __name__ == "__main__":
    sys.exit(main())
