"""Files that nobody should send: damaged, lying, exploding, two-faced; made anew of real pictures.

Each kind is a function of the test's chances, so that a kind is another file each time.
"""

import bz2
import gzip
import io
import json
import lzma
import pickle
import random
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np
from PIL import Image
from skimage import data

Make = Callable[[random.Random], bytes]

PHOTO = np.ascontiguousarray(data.astronaut()[:96, :128])
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SCRIPT = b"<script>alert(document.cookie)</script>"


def encoded(form: str, pixels: np.ndarray = PHOTO, mode: str | None = None, **options) -> bytes:
    """The pixels as a file of that form."""
    content = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(content, form, **options)
    return content.getvalue()


GOOD = {form: encoded(form) for form in ("PNG", "JPEG", "WEBP", "TIFF")}


# Damage to any file.


def truncated(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(1, len(content))]


def flipped(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(chance.randint(1, 20)):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def spliced(content: bytes, chance: random.Random) -> bytes:
    """A stretch is missing in the middle."""
    start = chance.randrange(8, len(content))
    return content[:start] + content[start + chance.randint(1, 400) :]


# PNG, chunk by chunk.


def chunk(kind: bytes, content: bytes, *, crc: int | None = None) -> bytes:
    check = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def header(
    width: int, height: int, *, bits: int = 8, colour: int = 2, compression: int = 0, lace: int = 0
) -> bytes:
    return chunk(
        b"IHDR",
        struct.pack(">IIBBBBB", width, height, bits, colour, compression, 0, lace),
    )


def rows(width: int = 64, height: int = 64, channels: int = 3) -> bytes:
    return zlib.compress(b"".join(b"\0" + bytes(width * channels) for _ in range(height)))


def png(*chunks: bytes, head: bytes | None = None, end: bool = True) -> bytes:
    return (
        _SIGNATURE
        + (header(64, 64) if head is None else head)
        + b"".join(chunks)
        + (chunk(b"IEND", b"") if end else b"")
    )


def image_data(content: bytes | None = None) -> bytes:
    return chunk(b"IDAT", rows() if content is None else content)


def animated(form: str, **options) -> bytes:
    content = io.BytesIO()
    frames = [Image.fromarray(np.roll(PHOTO, 8 * place, axis=1)) for place in range(4)]
    frames[0].save(content, form, save_all=True, append_images=frames[1:], **options)
    return content.getvalue()


# JPEG, segment by segment.


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def with_segments(*segments: bytes) -> bytes:
    return GOOD["JPEG"][:2] + b"".join(segments) + GOOD["JPEG"][2:]


def resized_jpeg(width: int, height: int) -> bytes:
    content = bytearray(GOOD["JPEG"])
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def endless_scans() -> bytes:
    """A progressive JPEG whose last scan comes two thousand times."""
    content = encoded("JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    return content[:start] + content[start:-2] * 2000 + content[-2:]


# TIFF, tag by tag: (tag, type, count, value).

_BASE = (
    (256, 3, 1, 64),
    (257, 3, 1, 64),
    (258, 3, 1, 8),
    (259, 3, 1, 1),
    (262, 3, 1, 1),
    (273, 4, 1, 8),
    (277, 3, 1, 1),
    (278, 3, 1, 64),
    (279, 4, 1, 4096),
)


def tiff(*changed: tuple[int, int, int, int], pixels: bytes = bytes(4096), loop: bool = False):
    tags = {tag[0]: tag for tag in (*_BASE, *changed)}
    start = 8 + len(pixels)
    following = start if loop else 0
    entries = b"".join(struct.pack("<HHII", *tags[number]) for number in sorted(tags))
    return (
        struct.pack("<2sHI", b"II", 42, start)
        + pixels
        + struct.pack("<H", len(tags))
        + entries
        + struct.pack("<I", following)
    )


def many_pages(number: int) -> bytes:
    """Pages without pixels, one after the other."""
    start = len(first := tiff())
    pages = b"".join(
        struct.pack("<HHHIII", 1, 256, 3, 1, 64, start + 18 * (place + 1))
        for place in range(number)
    )
    return first[:-4] + struct.pack("<I", start) + pages


def compressed_tiff(size: int) -> bytes:
    """A side of 8192 whose strip is said to hold all, and expands to `size` bytes."""
    strip = zlib.compress(bytes(size), 9)
    return tiff(
        (256, 4, 1, 8192),
        (257, 4, 1, 3000),
        (278, 4, 1, 3000),
        (259, 3, 1, 8),
        (279, 4, 1, len(strip)),
        pixels=strip,
    )


@cache
def bomb(form: str, mode: str = "RGB", size: tuple[int, int] = (5000, 5000), **options) -> bytes:
    """As many pixels as a PNG may have, in little more than a megabyte."""
    content = io.BytesIO()
    Image.new(mode, size).save(content, form, **options)
    return content.getvalue()


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def of_windows(form: int) -> bytes:
    """A TIFF that asks its decompressor for a window of 128 megabytes."""
    lzma_filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 128 << 20}]
    strip = lzma.compress(bytes(64 * 64), lzma.FORMAT_XZ, filters=lzma_filters)
    return tiff((259, 3, 1, form), (279, 4, 1, len(strip)), pixels=strip)


def webp_with(extra: int) -> bytes:
    """As many pixels as a WebP may have, with so many bytes of another kind."""
    return bomb("WEBP", "RGBA", (3600, 2500), xmp=bytes(extra))


def webp_of_size(width: int, height: int) -> bytes:
    """The header of an extended WebP of that size, and of a lossless picture in it."""
    extended = struct.pack("<4sIII", b"VP8X", 10, 0, 0)[:12] + struct.pack("<I", width - 1)[:3]
    body = extended + struct.pack("<I", height - 1)[:3] + b"VP8L" + struct.pack("<I", 8) + bytes(8)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, each in entries.items():
            archive.writestr(name, each)
    return content.getvalue()


NO_PICTURES: dict[str, Make] = {
    "nothing": lambda _: b"",
    "one byte": lambda chance: chance.randbytes(1),
    "text": lambda _: b"This is no picture. " * 50,
    "HTML with a script": lambda _: b"<!doctype html><html>" + _SCRIPT + b"</html>",
    "SVG with a script": lambda _: (
        b'<svg xmlns="http://www.w3.org/2000/svg">' + _SCRIPT + b"</svg>"
    ),
    "XML with an entity of the system": lambda _: (
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
    ),
    "PDF": lambda _: b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF",
    "program": lambda _: b"\x7fELF\x02\x01\x01" + bytes(200),
    "shell script": lambda _: b"#!/bin/sh\nrm -rf /\n",
    "random bytes": lambda chance: chance.randbytes(chance.randint(2, 50_000)),
    "a megabyte of zeros": lambda _: bytes(1 << 20),
    "GIF": lambda _: encoded("GIF", mode="P"),
    "GIF that is a script": lambda _: b"GIF89a/*" + bytes(64) + b"*/=1;alert(1)",
    "BMP": lambda _: encoded("BMP"),
    "icon": lambda _: encoded("ICO"),
    "JPEG 2000 by its name": lambda _: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
    "HEIF by its name": lambda _: b"\0\0\0\x18ftypheic" + bytes(100),
    "zip archive": lambda _: zipped({"photo.png": GOOD["PNG"]}),
    "pickle": lambda _: pickle.dumps({"a": 1}),
}

PICTURES: dict[str, Make] = {
    **{f"{form}, truncated": partial(truncated, GOOD[form]) for form in GOOD},
    **{f"{form}, bits flipped": partial(flipped, GOOD[form]) for form in GOOD},
    **{f"{form}, a stretch missing": partial(spliced, GOOD[form]) for form in GOOD},
    "PNG, wrong CRC of the header": lambda _: png(
        image_data(), head=chunk(b"IHDR", header(64, 64)[8:21], crc=1)
    ),
    "PNG, wrong CRC of the pixels": lambda _: png(chunk(b"IDAT", rows(), crc=1)),
    "PNG without pixels": lambda _: png(),
    "PNG without an end": lambda _: png(image_data(), end=False),
    "PNG without a header": lambda _: _SIGNATURE + image_data() + chunk(b"IEND", b""),
    "PNG, two headers": lambda _: png(header(4096, 4096), image_data()),
    "PNG of gigapixels": lambda _: png(image_data(), head=header(65535, 65535)),
    "PNG of negative size": lambda _: png(image_data(), head=header(0xFFFFFFFF, 0xFFFFFFFF)),
    "PNG of no width": lambda _: png(image_data(), head=header(0, 64)),
    "PNG, one pixel wide": lambda _: png(image_data(rows(1, 8000)), head=header(1, 8000)),
    "PNG, taller than its pixels": lambda _: png(image_data(), head=header(64, 4096)),
    "PNG, its last rows missing": lambda chance: png(
        image_data(rows(height=chance.randint(1, 63)))
    ),
    "JPEG, its last rows missing": lambda chance: (
        GOOD["JPEG"][: -chance.randint(50, 1000)] + b"\xff\xd9"
    ),
    "PNG bomb": lambda _: png(image_data(zlib.compress(bytes(200 << 20), 9))),
    "PNG bomb within the limits": lambda _: png(
        image_data(rows(5000, 4999, 4)), head=header(5000, 4999, colour=6)
    ),
    "PNG bomb of text": lambda _: png(
        chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100 << 20), 9)), image_data()
    ),
    "PNG bomb of a colour profile": lambda _: png(
        chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(100 << 20), 9)), image_data()
    ),
    "PNG with a profile of noise": lambda chance: png(
        chunk(b"iCCP", b"a\0\0" + zlib.compress(chance.randbytes(1 << 20))), image_data()
    ),
    "PNG bomb of texts": lambda _: png(
        chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress("\U0001f600".encode() + bytes(10**6))) * 63,
        image_data(rows(5000, 4999, 4)),
        head=header(5000, 4999, colour=6),
    ),
    "PNG of many texts": lambda _: png(chunk(b"tEXt", b"a\0b") * 1_500_000),
    "PNG, endless chunk": lambda _: png(struct.pack(">I", 0x7FFFFFFF) + b"IDAT" + rows()),
    "PNG of 3 bits": lambda _: png(image_data(), head=header(64, 64, bits=3)),
    "PNG of unknown colours": lambda _: png(image_data(), head=header(64, 64, colour=5)),
    "PNG, unknown compression": lambda _: png(image_data(), head=header(64, 64, compression=9)),
    "PNG of 16 bits": lambda _: encoded("PNG", np.arange(4096, dtype=np.uint16).reshape(64, 64)),
    "PNG of one bit": lambda _: encoded("PNG", mode="1"),
    "PNG, interlaced noise": lambda chance: png(
        image_data(zlib.compress(chance.randbytes(20_000))), head=header(64, 64, lace=1)
    ),
    "PNG, palette missing": lambda _: png(
        image_data(rows(channels=1)), head=header(64, 64, colour=3)
    ),
    "PNG, palette too short": lambda _: png(
        chunk(b"PLTE", bytes(3)),
        image_data(zlib.compress(b"".join(b"\0" + b"\xff" * 64 for _ in range(64)))),
        head=header(64, 64, colour=3),
    ),
    "PNG, animated": lambda _: animated("PNG"),
    "PNG and zip": lambda _: GOOD["PNG"] + zipped({"a.html": _SCRIPT}),
    "PNG with megabytes behind it": lambda chance: GOOD["PNG"] + chance.randbytes(5 << 20),
    "PNG with a script": lambda _: png(chunk(b"tEXt", b"Comment\0" + _SCRIPT), image_data()),
    "JPEG and HTML": lambda _: with_segments(segment(0xFE, b"--><html>" + _SCRIPT + b"<!--")),
    "JPEG and zip": lambda _: GOOD["JPEG"] + zipped({"a": _SCRIPT}),
    "JPEG of gigapixels": lambda _: resized_jpeg(65535, 65535),
    "JPEG of no height": lambda _: resized_jpeg(128, 0),
    "JPEG, larger than its pixels": lambda _: resized_jpeg(4096, 4096),
    "JPEG of endless scans": lambda _: endless_scans(),
    "JPEG bomb in CMYK": lambda _: bomb("JPEG", "CMYK"),
    "JPEG bomb, turned": lambda _: bomb("JPEG", exif=_turned()),
    "JPEG bomb, progressive": lambda _: bomb("JPEG", size=(5000, 4280), progressive=True),
    "JPEG bomb, progressive and in CMYK": lambda _: bomb("JPEG", "CMYK", progressive=True),
    "JPEG in CMYK": lambda _: encoded("JPEG", mode="CMYK"),
    "JPEG in grey": lambda _: encoded("JPEG", mode="L"),
    "JPEG, noise for EXIF": lambda chance: with_segments(
        segment(0xE1, b"Exif\0\0" + chance.randbytes(60_000))
    ),
    "JPEG, EXIF that turns in a circle": lambda _: with_segments(
        segment(0xE1, b"Exif\0\0" + tiff(loop=True, pixels=b""))
    ),
    "JPEG, orientation 65535": lambda _: with_segments(
        segment(0xE1, b"Exif\0\0" + tiff((0x112, 3, 1, 65535), pixels=b""))
    ),
    "JPEG, megabytes of profile": lambda chance: with_segments(
        *(
            segment(0xE2, b"ICC_PROFILE\0" + bytes((part, 60)) + chance.randbytes(60_000))
            for part in range(1, 61)
        )
    ),
    "JPEG, EXIF in pieces": lambda _: with_segments(
        segment(0xE1, b"Exif\0\0" + bytes(400)) * 19_000
    ),
    "JPEG, a film behind it": lambda chance: GOOD["JPEG"] + chance.randbytes(10_000_000),
    "JPEG, segments behind its pixels": lambda _: (
        GOOD["JPEG"][:-2] + segment(0xE5, b"") * 2_000_000
    ),
    "JPEG, many segments": lambda _: with_segments(segment(0xE5, b"x") * 2_000_000),
    "JPEG, markers without end": lambda _: GOOD["JPEG"][:2] + b"\xff" * 20_000_000,
    "WebP, animated": lambda _: animated("WEBP"),
    "WebP of gigapixels": lambda _: webp_of_size(1 << 24, 1 << 24),
    "WebP, larger than its pixels": lambda _: webp_of_size(4096, 4096),
    "WebP bomb": lambda _: bomb("WEBP"),
    "WebP bomb within the limits": lambda _: webp_with(0),
    "WebP bomb with more beside it": lambda _: webp_with(200_000),
    "WebP with megabytes of no pixels": lambda _: webp_with(20_000_000),
    "WebP with a wrong length": lambda _: GOOD["WEBP"][:4] + b"\xff" * 4 + GOOD["WEBP"][8:],
    "TIFF of gigapixels": lambda _: tiff((256, 4, 1, 1 << 20), (257, 4, 1, 1 << 20)),
    "TIFF bomb in one strip": lambda _: bomb(
        "TIFF", size=(5000, 4280), compression="tiff_adobe_deflate", strip_size=1 << 30
    ),
    "TIFF bomb, turned": lambda _: bomb("TIFF", compression="tiff_lzw", exif=_turned()),
    "TIFF of millions of strips": lambda _: tiff(
        (273, 1, 5_000_000, 8), (278, 4, 1, 1), pixels=bytes(5_000_000)
    ),
    "TIFF of millions of bits": lambda _: tiff((258, 3, 9_000_000, 8), pixels=bytes(18_000_000)),
    "TIFF of a million resolutions": lambda _: tiff((282, 5, 10**6, 8), pixels=bytes(8_000_000)),
    "TIFF with a width that only libtiff knows": lambda _: tiff(
        (322, 17, 1, 15000), (323, 17, 1, 15000)
    ),
    "TIFF with a window of megabytes": lambda _: of_windows(34925),
    "TIFF bomb": lambda _: compressed_tiff(200 << 20),
    "TIFF, strip too short": lambda _: compressed_tiff(100),
    "TIFF that turns in a circle": lambda _: tiff(loop=True),
    "TIFF, a tag of gigabytes": lambda _: tiff((305, 2, 0x7FFFFFFF, 8)),
    "TIFF, strips of gigabytes": lambda _: tiff((273, 4, 0x0FFFFFFF, 8)),
    "TIFF, strip behind its end": lambda _: tiff((273, 4, 1, 0x7FFFFFF0)),
    "TIFF of a million pages": lambda _: many_pages(1_000_000),
    "TIFF of 0 bits": lambda _: tiff((258, 3, 1, 0)),
    "TIFF of 65535 samples": lambda _: tiff((277, 3, 1, 65535)),
    "TIFF, unknown compression": lambda _: tiff((259, 3, 1, 0xBAD)),
    "TIFF of several pages": lambda _: animated("TIFF"),
    "TIFF in floating point": lambda _: encoded("TIFF", np.ones((64, 64), np.float32)),
    "TIFF of 32 bits": lambda _: encoded("TIFF", np.ones((64, 64), np.int32)),
    "TIFF in Lab": lambda _: encoded("TIFF", mode="LAB"),
    "TIFF, fax noise": lambda chance: tiff((259, 3, 1, 4), pixels=chance.randbytes(4096)),
    "TIFF, big": lambda _: encoded("TIFF", big_tiff=True),
}


def tarred(members: Iterator[tuple[tarfile.TarInfo, bytes]] | list, mode: str = "w") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        for info, each in members:
            info.size = len(each)
            archive.addfile(info, io.BytesIO(each))
    return content.getvalue()


def tar_link(kind: bytes, target: str) -> bytes:
    link = tarfile.TarInfo("photo.png")
    link.type, link.linkname = kind, target
    return tarred([(link, b""), (tarfile.TarInfo("good.png"), GOOD["PNG"])])


def zip_link(target: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        link = zipfile.ZipInfo("photo.png")
        link.create_system = 3
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, target)
        archive.writestr("good.png", GOOD["PNG"])
    return content.getvalue()


def encrypted_zip() -> bytes:
    content = bytearray(zipped({"photo.png": GOOD["PNG"]}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def overlapping_zip() -> bytes:
    """Many members that are all the same one."""
    content = zipped({"a.png": bytes(1 << 20)})
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entries = b"".join(
        content[start:end].replace(b"a.png", b"%c.png" % (97 + place % 26)) for place in range(5000)
    )
    return (
        content[:start]
        + entries
        + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 5000, 5000, len(entries), start, 0)
    )


def nested_zip() -> bytes:
    content = zipped({"photo.png": GOOD["PNG"]})
    for depth in range(20):
        content = zipped({f"{depth}.zip": content, "photo.png": content})
        if len(content) > 1 << 20:
            break
    return content


def lying_zip() -> bytes:
    """A directory that says four gigabytes of each member."""
    content = bytearray(zipped({"photo.png": GOOD["PNG"]}))
    start = content.index(b"PK\x01\x02")
    content[start + 20 : start + 28] = struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)
    return bytes(content)


_PACKED = zipped({"a.png": GOOD["PNG"], "b.jpg": GOOD["JPEG"]})
_TARRED = tarred([(tarfile.TarInfo("a.png"), GOOD["PNG"])])
_BOMB = bytes(100 << 20)

ARCHIVES: dict[str, Make] = {
    "zip, truncated": partial(truncated, _PACKED),
    "zip, bits flipped": partial(flipped, _PACKED),
    "zip, a stretch missing": partial(spliced, _PACKED),
    "zip of nothing": lambda _: zipped({}),
    "zip without pictures": lambda _: zipped({"notes.txt": b"nothing", "page.html": _SCRIPT}),
    "zip with names that climb": lambda _: zipped(
        {"../../../tmp/evil.png": GOOD["PNG"], "/etc/evil.png": GOOD["PNG"], "a/../b.png": b""}
    ),
    "zip with names of other systems": lambda _: zipped(
        {"..\\..\\evil.png": GOOD["PNG"], "C:\\evil.png": GOOD["PNG"], "\u202egnp.a": GOOD["PNG"]}
    ),
    "zip with a link": lambda _: zip_link("/etc/passwd"),
    "zip, encrypted": lambda _: encrypted_zip(),
    "zip bomb": lambda _: zipped({f"{place}.png": _BOMB for place in range(4)}),
    "zip bomb, overlapping": lambda _: overlapping_zip(),
    "zip of zips": lambda _: nested_zip(),
    "zip that lies of sizes": lambda _: lying_zip(),
    "zip of bad pictures": lambda chance: zipped(
        {f"{place}.png": make(chance) for place, make in enumerate(list(PICTURES.values())[:12])}
    ),
    "zip of one picture many times": lambda _: zipped(
        {f"{place}.png": GOOD["PNG"] for place in range(300)}
    ),
    "tar, truncated": partial(truncated, _TARRED),
    "tar, bits flipped": partial(flipped, _TARRED),
    "tar with a link": lambda _: tar_link(tarfile.SYMTYPE, "/etc/passwd"),
    "tar with a hard link": lambda _: tar_link(tarfile.LNKTYPE, "../../etc/passwd"),
    "tar with a device": lambda _: tar_link(tarfile.CHRTYPE, ""),
    "tar with a pipe": lambda _: tar_link(tarfile.FIFOTYPE, ""),
    "tar with names that climb": lambda _: tarred(
        [(tarfile.TarInfo("../../evil.png"), GOOD["PNG"])]
    ),
    "gzip bomb": lambda _: gzip.compress(_BOMB),
    "bzip2 bomb": lambda _: bz2.compress(_BOMB[: 20 << 20]),
    "xz bomb": lambda _: lzma.compress(_BOMB[: 20 << 20]),
    "gzip of a truncated tar": lambda chance: gzip.compress(truncated(_TARRED, chance)),
    "RAR by its name": lambda _: b"Rar!\x1a\x07\x01\0" + bytes(100),
    "7-Zip by its name": lambda _: b"7z\xbc\xaf\x27\x1c" + bytes(100),
    "a picture": lambda _: GOOD["PNG"],
}


class _Calling:
    """What a pickle can do to those who load it."""

    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.system, ("touch /tmp/pickle-was-executed",)


def safetensors(manifest: bytes, tensors: bytes = bytes(64), length: int | None = None) -> bytes:
    return struct.pack("<Q", len(manifest) if length is None else length) + manifest + tensors


def _tensor(**changes: object) -> bytes:
    fields = {"dtype": "F32", "shape": [16], "data_offsets": [0, 64], **changes}
    return json.dumps({"a": fields}).encode()


ARTEFACTS: dict[str, Make] = {
    "safetensors, header of exabytes": lambda _: safetensors(_tensor(), length=1 << 62),
    "safetensors, header of gigabytes": lambda _: safetensors(_tensor(), length=1 << 31),
    "safetensors, no JSON": lambda chance: safetensors(chance.randbytes(100)),
    "safetensors, deep JSON": lambda _: safetensors(b"[" * 100_000),
    "safetensors, a tensor of terabytes": lambda _: safetensors(_tensor(shape=[1 << 20, 1 << 20])),
    "safetensors, a negative shape": lambda _: safetensors(_tensor(shape=[-16])),
    "safetensors, offsets behind the end": lambda _: safetensors(
        _tensor(data_offsets=[0, 1 << 40])
    ),
    "safetensors of another kind": lambda _: safetensors(_tensor()),
    "safetensors, many tensors": lambda _: safetensors(
        json.dumps(
            {str(n): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(20_000)}
        ).encode(),
        b"",
    ),
    "pickle that calls": lambda _: pickle.dumps(_Calling()),
    "pickle that calls, in a zip": lambda _: zipped(
        {"archive/data.pkl": pickle.dumps(_Calling()), "archive/version": b"3\n"},
        zipfile.ZIP_STORED,
    ),
    "pickle of deep lists": lambda _: b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "pickle, truncated": lambda chance: truncated(pickle.dumps(list(range(1000))), chance),
    "zip bomb for a state dict": lambda _: zipped(
        {"archive/data.pkl": pickle.dumps({}), "archive/data/0": _BOMB}
    ),
}
