"""An upload as a file, also where it is larger than any memory or 32-bit number."""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

import pytest

from services.blobs import Blobs
from services.database.schema import DatasetPart
from services.datasets.archives import open_archive
from services.datasets.parts import UploadedFile


class SparseBlobs(Blobs):
    """Zeros, except where a test has put something."""

    def __init__(self) -> None:
        self.written: dict[str, dict[int, bytes]] = {}

    def stream(
        self, key: str, *, start: int = 0, length: int, chunk: int = 1 << 20
    ) -> Iterator[bytes]:
        content = bytearray(length)
        for place, written in self.written.get(key, {}).items():
            low, high = max(place, start), min(place + len(written), start + length)
            if low < high:
                content[low - start : high - start] = written[low - place : high - place]
        yield bytes(content)


def parts_of(*sizes: int) -> list[DatasetPart]:
    offsets = [sum(sizes[:place]) for place in range(len(sizes))]
    return [
        DatasetPart(dataset_id="ds", offset=offset, size=size, blob=f"part-{offset}")
        for offset, size in zip(offsets, sizes, strict=True)
    ]


def test_any_stretch_is_read_across_the_seams(tmp_path) -> None:
    blobs = Blobs(tmp_path)
    content = random.Random(1).randbytes(5000)
    parts = parts_of(1000, 1, 2999, 1000)
    for part in parts:
        blobs.put(part.blob, content[part.offset : part.offset + part.size])
    file = io.BufferedReader(UploadedFile(blobs, parts, lambda: None), 64)
    generator = random.Random(2)
    for _ in range(200):
        start, length = generator.randrange(5100), generator.randrange(3000)
        file.seek(start)
        assert file.read(length) == content[start : start + length]
    assert file.seek(-10, io.SEEK_END) == 4990
    assert file.read() == content[-10:]


def test_what_stops_a_read_is_asked_before_every_one() -> None:
    def stop() -> None:
        raise InterruptedError

    file = UploadedFile(SparseBlobs(), parts_of(100), stop)
    with pytest.raises(InterruptedError):
        file.read(1)


def test_a_zip_beyond_four_gibibytes_is_read_from_its_end() -> None:
    """Six gibibytes of zeros in one member, and a small one behind them."""
    big, small = 6 << 30, b"behind six gibibytes"
    blobs, part = SparseBlobs(), 8 << 20
    first = zipfile.ZipInfo("zeros.bin")
    first.file_size = first.compress_size = big
    first.header_offset = 0
    first.CRC = 0  # nobody reads it to its end
    second = zipfile.ZipInfo("small.png")
    second.file_size = second.compress_size = len(small)
    second.CRC = zlib.crc32(small)
    head = first.FileHeader(zip64=True)
    second.header_offset = len(head) + big
    tail = second.FileHeader() + small
    tail += directory(first, second, start=second.header_offset + len(tail))
    size = second.header_offset + len(tail)
    parts = parts_of(*[part] * (size // part), size % part)
    put(blobs, parts, 0, head)
    put(blobs, parts, second.header_offset, tail)

    file = UploadedFile(blobs, parts, lambda: None)
    source = open_archive(file, max_bytes=1 << 40, max_members=10)
    read: dict[str, Callable[[int], bytes]] = {
        member.name: member.read for _, member in source.members()
    }
    assert read["small.png"](1000) == small
    assert read["zeros.bin"](1000) == bytes(1000)


def put(blobs: SparseBlobs, parts: list[DatasetPart], offset: int, content: bytes) -> None:
    for part in parts:
        low, high = max(part.offset, offset), min(part.offset + part.size, offset + len(content))
        if low < high:
            stretch = content[low - offset : high - offset]
            blobs.written.setdefault(part.blob, {})[low - part.offset] = stretch


def directory(*infos: zipfile.ZipInfo, start: int) -> bytes:
    """A table of contents with 64-bit numbers, and the two ends that follow it."""
    table = b""
    for info in infos:
        extra = struct.pack("<HHQQQ", 1, 24, info.file_size, info.compress_size, info.header_offset)
        table += struct.pack(
            "<4s4B4HL2L5H2L",
            b"PK\1\2", 45, 3, 45, 0, 0, 0, 0, 33, info.CRC,
            0xFFFFFFFF, 0xFFFFFFFF, len(info.filename), len(extra), 0, 0, 0, 0, 0xFFFFFFFF,
        ) + info.filename.encode() + extra  # fmt: skip
    count, size = len(infos), len(table)
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start + size, 1)
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, 0xFFFFFFFF, 0)
    return table + end + locator + last
