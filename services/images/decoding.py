"""From an uploaded file to the pixels that the service keeps.

Image libraries meet the internet here. The file is decoded in a fresh process with little
memory and time and an empty environment (`decoder_process.py`). It is no sandbox: the process
runs as the service's user, and could read its files and open connections. What comes back is
8-bit RGB or RGBA, encoded again as PNG, so that nothing of the file but its pixels is kept.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Self

from services.errors import BadImageError, DiskFullError, TooLargeError, UnsupportedImageError
from services.settings import Settings

FORMATS = ("PNG", "JPEG", "WebP", "TIFF")

_DECODER = Path(__file__).with_name("decoder_process.py")
_NO_ROOM = 3  # its exit status where the disk is full
_DIGEST_BYTES = 64  # at the end of its answer

# How a file begins: the formats that are accepted, and those that people send by mistake.
_ACCEPTED = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0")
_KNOWN = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    b"\0\0\1\0": "icon",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xffO\xffQ": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"MM\0+": "big-endian BigTIFF",  # Pillow takes it for a TIFF of the usual kind
    b"v/1\1": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"DDS ": "DDS",
    b"<svg": "SVG",
    b"<?xml": "XML",
    b"P5": "PGM",
    b"P6": "PPM",
}


@dataclass(frozen=True)
class Limits:
    """What is decoded, and what decoding may cost."""

    max_bytes: int
    max_pixels: int
    min_side: int
    max_side: int
    memory_bytes: int  # address space of the decoding process
    cpu_seconds: int
    seconds: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The limits that the operator set."""
        # Ten megapixels of noise take 1.5 s where this was measured.
        cpu_seconds = 10 + settings.max_image_pixels // 2_500_000
        return cls(
            max_bytes=settings.max_upload_bytes,
            max_pixels=settings.max_image_pixels,
            min_side=settings.min_image_side,
            max_side=settings.max_image_side,
            cpu_seconds=cpu_seconds,
            seconds=1.5 * cpu_seconds,
            # What programs and libraries take, copies of the file, and of its pixels what
            # `decoder_process.MOST_HELD` says.
            memory_bytes=150_000_000
            + 3 * settings.max_upload_bytes
            + 6 * settings.max_image_pixels,
        )


@dataclass(frozen=True)
class DecodedImage:
    """8-bit RGB or RGBA pixels as a PNG file, and how they came about."""

    png: bytes
    digest: str  # `pixel_digest` of the pixels
    width: int
    height: int
    source: dict[str, Any]  # format, mode, original size, and the conversions made


def pixel_digest(
    width: int, height: int, pixels: bytes, mode: Literal["RGB", "RGBA"] = "RGB"
) -> str:
    """SHA-256, in hexadecimal, of an image's size and its 8-bit pixels, row by row."""
    return sha256(f"{width}x{height} {mode}\n".encode() + pixels).hexdigest()


def decode(content: bytes, limits: Limits, *, keep_alpha: bool = False) -> DecodedImage:
    """Decode an image file: one frame, upright, 8-bit sRGB.

    The EXIF orientation is applied; 16-bit samples keep their high byte; CMYK, grey and palette
    become RGB; an ICC profile is converted to sRGB, or dropped if it is unusable. Transparency is
    laid over white; with `keep_alpha` the pixels are RGBA instead, the colour as it was (straight
    alpha), unless all of them are opaque. `DecodedImage.source` says what was done.

    Raises: TooLargeError for too many bytes; UnsupportedImageError for a format that is not
    accepted; BadImageError for everything else that is wrong with the file; DiskFullError where
    the temporary folder has no room for the result.
    """
    _check_start(content, limits)
    request = {"limits": asdict(limits), "keep_alpha": keep_alpha}
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.run(  # noqa: S603 - our own program, no shell
                [sys.executable, "-I", str(_DECODER), json.dumps(request)],
                input=content,
                stdout=output,
                stderr=subprocess.DEVNULL,
                timeout=limits.seconds,
                env={},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BadImageError(f"decoding took more than {limits.seconds:g} s") from error
        if process.returncode == _NO_ROOM:
            raise DiskFullError(
                f"the temporary folder {tempfile.gettempdir()} has no room for a decoded image"
            )
        output.seek(0)
        try:
            answer = json.loads(output.readline())
        except ValueError:
            answer = {}
        start = output.tell()
        if process.returncode != 0 or not answer:
            costly = (
                "the image needs more memory or time to decode than the service allows "
                f"({limits.memory_bytes >> 20} MiB, {limits.cpu_seconds} s)"
            )
            raise BadImageError(answer.get("error", costly))
        png_bytes = output.seek(-_DIGEST_BYTES, os.SEEK_END) - start
        digest = output.read().decode()
        output.seek(start)
        return DecodedImage(png=output.read(png_bytes), digest=digest, **answer)


def _check_start(content: bytes, limits: Limits) -> None:
    if not content:
        raise BadImageError("the file is empty (0 bytes)")
    if len(content) > limits.max_bytes:
        raise TooLargeError(
            f"the file has {len(content)} bytes; at most {limits.max_bytes} are accepted"
        )
    webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    if webp or content.startswith(_ACCEPTED):
        return
    accepted = f"accepted are {', '.join(FORMATS)}"
    known = next((name for start, name in _KNOWN.items() if content.startswith(start)), None)
    if content[4:8] == b"ftyp":
        known = "AVIF" if content[8:12] in (b"avif", b"avis") else "HEIF or video"
    if known is not None:
        raise UnsupportedImageError(f"the file is in {known} format; {accepted}")
    raise BadImageError(f"the file is not an image that the service knows; {accepted}")
