"""The program that decodes one untrusted image file: standard input to standard output.

Run as a file in an isolated interpreter by `services.images.decoding`; it imports the
standard library and Pillow only. Its argument is JSON: the limits, and whether transparency is
to be kept. It answers one line of JSON, followed by the PNG file if all went well; it exits 1 if
not, and 3 where the disk has no room for the answer.

Pillow takes 4 bytes for a pixel of RGB or RGBA, 100 MB for 25 megapixels: so nothing is copied
that need not be. What has transparency stays as it is until it is written, without its alpha
where that says nothing.
"""

import errno
import io
import json
import os
import resource
import struct
import sys
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from typing import IO, Any, BinaryIO, cast

from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import putchunk

# TIFF and PNG samples of other kinds (floating point, 32 bits, Lab) have no agreed range.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
MAX_OUTPUT = 1 << 28
STRIP = 64  # rows
NO_ROOM = 3
# Of the largest image's pixels: libwebp holds a picture four times while it is decoded.
WEBP_SHARE = 0.4
# Libraries read these one by one, and a file of 25 MB may have millions: more than any camera or
# program writes.
MOST_PARTS = 20_000  # chunks of a PNG, segments of a JPEG
MOST_FILL = 1000  # bytes before a marker of a JPEG
MOST_SCANS = 60  # of a progressive JPEG and the pictures in it; each goes over all pixels


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


def decode(
    content: bytes, limits: dict[str, Any], *, keep_alpha: bool
) -> tuple[Image.Image, str, dict[str, Any]]:
    """The image with 8 bits per sample; the mode to keep it in, RGB, or RGBA if transparency is
    kept and there is some; what it was.
    """
    Image.MAX_IMAGE_PIXELS = None  # checked below, with words of our own
    check_parts(content)
    image: Image.Image = Image.open(io.BytesIO(content), formats=["PNG", "JPEG", "WEBP", "TIFF"])
    check_size(image, limits)
    conversions: list[str] = []
    bits = bits_per_sample(image, content)
    source = {
        # A phone's JPEG may carry further pictures (depth, gain map): an MPO file.
        "format": {"MPO": "JPEG", "WEBP": "WebP"}.get(str(image.format), image.format),
        "mode": image.mode,
        "bits": bits,
        "width": image.width,
        "height": image.height,
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
    image.load()
    profile = image.info.get("icc_profile")
    turn_upright(image, conversions)
    image = eight_bits(image, bits, conversions)
    mode = "RGB"
    if image.has_transparency_data:
        image = with_colours(image)
        if image.getchannel("A").getextrema() != (255, 255):
            if keep_alpha:
                mode = "RGBA"
            else:
                lay_over_white(image)
                conversions.append("transparency laid over white")
    return to_srgb(image, profile, conversions), mode, source


def check_parts(content: bytes) -> None:
    """Refuse a file that is cut into very many parts, before any library reads them."""
    if content.startswith(b"\x89PNG"):
        parts = sum(1 for _ in islice(chunks_of_png(content), MOST_PARTS + 1))
    elif content.startswith(b"\xff\xd8"):
        parts = sum(1 for _ in islice(segments_of_jpeg(content), MOST_PARTS + 1))
        if content.count(b"\xff\xda") > MOST_SCANS:
            raise BadImage(f"the JPEG file has more than {MOST_SCANS} scans")
    else:
        return
    if parts > MOST_PARTS:
        raise BadImage(f"the file is cut into more than {MOST_PARTS} parts: save it anew")


def chunks_of_png(content: bytes) -> Iterator[int]:
    """Where each chunk begins."""
    start = 8
    while start < len(content):
        yield start
        start += 12 + int.from_bytes(content[start : start + 4], "big")


def segments_of_jpeg(content: bytes) -> Iterator[int]:
    """Where each segment before the pixels begins."""
    start = 2
    while start < len(content):
        yield start
        marker = start
        while content[marker : marker + 1] == b"\xff" and marker <= start + MOST_FILL:
            marker += 1
        if marker > start + MOST_FILL:
            raise BadImage(f"the JPEG file has more than {MOST_FILL} empty bytes before a marker")
        if content[marker : marker + 1] in (b"\xda", b"\xd9", b""):  # pixels, or the end
            return
        length = int.from_bytes(content[marker + 1 : marker + 3], "big")
        start = marker + 1 + max(length, 1)


def count_frames(image: Image.Image) -> int:
    """Pictures in the file; of a TIFF, which may have millions, 2 stands for all above 1."""
    if image.format != "TIFF":
        return int(getattr(image, "n_frames", 1))
    try:
        image.seek(1)
    except EOFError:
        return 1
    return 2


def check_size(image: Image.Image, limits: dict[str, Any]) -> None:
    """Refuse by the header alone, before any pixel is decoded."""
    width, height = image.size
    size = f"the image is {width} × {height} pixels"
    if min(width, height) < limits["min_side"]:
        raise BadImage(f"{size}; each side must have at least {limits['min_side']}")
    if max(width, height) > limits["max_side"]:
        raise BadImage(f"{size}; each side may have at most {limits['max_side']}")
    if width * height > limits["max_pixels"]:
        raise BadImage(f"{size}; at most {limits['max_pixels'] / 1e6:g} megapixels are accepted")
    if image.format == "WEBP" and width * height > WEBP_SHARE * limits["max_pixels"]:
        raise BadImage(
            f"{size}; as WebP, which takes the most memory to decode, at most "
            f"{WEBP_SHARE * limits['max_pixels'] / 1e6:g} megapixels are accepted: save it as PNG "
            "or JPEG"
        )


def bits_per_sample(image: Image.Image, content: bytes) -> int:
    """Bits of one sample in the file."""
    if image.format == "PNG":
        return content[24]
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(258, (1,))))  # type: ignore[attr-defined]  # of TIFF images
    return 8


def turn_upright(image: Image.Image, conversions: list[str]) -> None:
    """Apply the EXIF orientation."""
    try:
        orientation = image.getexif().get(0x0112, 1)
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # noqa: BLE001 - a broken EXIF block is no reason to refuse the pixels
        conversions.append("unreadable EXIF data ignored")
        return
    if orientation in range(2, 9):
        conversions.append(f"EXIF orientation {orientation} applied")


def eight_bits(image: Image.Image, bits: int, conversions: list[str]) -> Image.Image:
    """Samples of 16 bits keep their high byte, as Pillow does for colour."""
    if bits == 16:
        conversions.append("16 bits per sample scaled to 8")
    if image.mode.startswith("I;16"):
        high = 0 if image.mode.endswith("B") else 1
        return Image.frombytes("L", image.size, image.tobytes()[high::2])
    if image.mode not in MODES or bits > 16:
        raise BadImage(
            f"samples of {bits} bits in mode {image.mode} are not accepted: save the image with "
            "8 or 16 bits per sample in RGB or grey"
        )
    return image


def with_colours(image: Image.Image) -> Image.Image:
    """What has transparency, as RGBA."""
    if image.mode == "LA":
        light, alpha = image.split()
        image.close()
        return Image.merge("RGBA", (light, light, light, alpha))
    return image if image.mode == "RGBA" else image.convert("RGBA")


def lay_over_white(image: Image.Image) -> None:
    """Make an RGBA image opaque, in place."""
    white = Image.new("RGBA", (image.width, STRIP), "white")
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        image.paste(Image.alpha_composite(white.crop((0, 0, *strip.size)), strip), (0, top))


def to_srgb(image: Image.Image, profile: bytes | None, conversions: list[str]) -> Image.Image:
    """Convert to RGB: through the ICC profile where it is good and says something new."""
    if image.mode in ("1", "P", "PA", "RGBX", "YCbCr"):
        conversions.append(f"{image.mode} converted to RGB")
        image = image.convert("RGB")
    has_colours = image.mode in ("RGB", "RGBA")
    if profile:
        try:
            described = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if not has_colours or "srgb" not in ImageCms.getProfileDescription(
                described
            ).lower().replace(" ", ""):
                converted = ImageCms.profileToProfile(
                    image,
                    described,
                    ImageCms.createProfile("sRGB"),
                    outputMode=image.mode if has_colours else "RGB",
                    inPlace=has_colours,
                )
                was = "RGB" if has_colours else image.mode
                conversions.append(f"{was} converted to sRGB by the ICC profile")
                return converted or image
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            conversions.append("unusable ICC profile dropped")
    if not has_colours:
        conversions.append(f"{image.mode} converted to RGB")
        image = image.convert("RGB")
    return image


def main() -> int:
    """Decode standard input."""
    request = json.loads(sys.argv[1])
    limits = request["limits"]
    content = sys.stdin.buffer.read()
    restrict(limits)
    out = sys.stdout.buffer
    try:
        image, mode, source = decode(content, limits, keep_alpha=request["keep_alpha"])
    except BadImage as refusal:
        out.write(json.dumps({"error": str(refusal)}).encode())
        return 1
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise anything on damaged files
        message = f"the image file is truncated or damaged and cannot be decoded ({reason(error)})"
        out.write(json.dumps({"error": message}).encode())
        return 1
    answer = {
        "width": image.width,
        "height": image.height,
        "digest": pixel_digest(image, mode),
        "source": source,
    }
    try:
        out.write(json.dumps(answer).encode() + b"\n")
        write_png(image, mode, out)
        out.flush()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os._exit(NO_ROOM)  # what is left in the buffer has no room either
    return 0


def reason(error: Exception) -> str:
    """What a decoder stumbled over, in a line."""
    if isinstance(error, UnidentifiedImageError):  # its own words are an address in memory
        return "its header cannot be read"
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def pixel_digest(image: Image.Image, mode: str) -> str:
    """As `services.images.decoding.pixel_digest`, of the image in `mode`."""
    digest = sha256(f"{image.width}x{image.height} {mode}\n".encode())
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        digest.update(strip.tobytes("raw", mode))
    return digest.hexdigest()


class PixelChunks:
    """Takes compressed pixels, and writes them as chunks of a PNG file."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def write(self, compressed: bytes) -> None:
        """Take the next ones."""
        putchunk(self._out, b"IDAT", compressed)


def write_png(image: Image.Image, mode: str, out: BinaryIO) -> None:
    """The image in `mode`, as a PNG file. `image.save` would need a copy to leave out the alpha."""
    kind = {"RGB": 2, "RGBA": 6}[mode]
    out.write(b"\x89PNG\r\n\x1a\n")
    putchunk(out, b"IHDR", struct.pack(">IIBBBBB", *image.size, 8, kind, 0, 0, 0))
    # No search for the best strategy; level 2; the usual strategy; no dictionary.
    image.encoderconfig = (False, 2, -1, b"")
    everything = ImageFile._Tile("zip", (0, 0, *image.size), 0, mode)
    ImageFile._save(image, cast("IO[bytes]", PixelChunks(out)), [everything])
    putchunk(out, b"IEND", b"")


if __name__ == "__main__":
    sys.exit(main())
