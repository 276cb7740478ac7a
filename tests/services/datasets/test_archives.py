"""Archives of every kind, and what people and attackers put into them."""

import bz2
import errno
import gzip
import io
import lzma
import os
import random
import re
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from services.datasets.archives import open_archive
from services.datasets.members import BadMemberError
from services.errors import BadInputError

LIMIT = 1000  # bytes of a member that are asked for
FILES = {"a.png": b"first" * 10, "folder/b.png": os.urandom(700), "c.png": b"third"}


def entries(
    content: bytes, *, max_bytes: int = 1 << 30, max_members: int = 100
) -> dict[str, object]:
    """What each member holds, or why it is not read."""
    source = open_archive(
        io.FileIO(os.memfd_create("archive"), "r+") if not content else _file(content),
        max_bytes=max_bytes,
        max_members=max_members,
    )
    found: dict[str, object] = {}
    last = 0
    for step, member in source.members():
        assert last <= step <= source.steps
        last = step
        try:
            found[member.name] = member.fault or member.read(LIMIT)
        except BadMemberError as error:
            found[member.name] = str(error)
    return found


def _file(content: bytes) -> io.FileIO:
    file = io.FileIO(os.memfd_create("archive"), "r+")
    file.write(content)
    file.seek(0)
    return file


def zipped(write: Callable[[zipfile.ZipFile], None], **options: int) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(content, "w", **options) as archive:
        warnings.simplefilter("ignore")  # names that are there twice
        write(archive)
    return content.getvalue()


def zip_of_files(archive: zipfile.ZipFile) -> None:
    archive.mkdir("folder")
    for name, content in FILES.items():
        archive.writestr(name, content)


def zip_of(*files: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    def write(archive: zipfile.ZipFile) -> None:
        for name, content in files:
            archive.writestr(name, content)

    return zipped(write, compression=compression)


def tar_of_files(format: int = tarfile.PAX_FORMAT) -> bytes:
    return tarred(*FILES.items(), format=format)


def tarred(
    *members: tuple[str, bytes] | tarfile.TarInfo, format: int = tarfile.PAX_FORMAT
) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=format) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member, io.BytesIO(bytes(member.size)))
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return content.getvalue()


def special(kind: bytes, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo("special")
    info.type = kind
    for name, value in fields.items():
        setattr(info, name, value)
    return info


def zip64(archive: zipfile.ZipFile) -> None:
    for name, content in FILES.items():
        with archive.open(name, "w", force_zip64=True) as member:
            member.write(content)


HALVES = (tar_of_files()[:700], tar_of_files()[700:])
GOOD = {
    "stored zip": zipped(zip_of_files),
    "deflated zip": zipped(zip_of_files, compression=zipfile.ZIP_DEFLATED),
    "zip64": zipped(zip64),
    "PAX tar": tar_of_files(),
    "GNU tar": tar_of_files(tarfile.GNU_FORMAT),
    "ustar": tar_of_files(tarfile.USTAR_FORMAT),
    "old tar": tar_of_files(tarfile.USTAR_FORMAT),  # its magic is taken away below
    "tar.gz": gzip.compress(tar_of_files()),
    "tar.bz2": bz2.compress(tar_of_files()),
    "tar.xz": lzma.compress(tar_of_files()),
    "tar.xz -9": lzma.compress(tar_of_files(), preset=9),
    "tar.gz in two streams": gzip.compress(tar_of_files()[:700])
    + gzip.compress(tar_of_files()[700:]),
    "tar.xz in two streams": lzma.compress(tar_of_files()[:700])
    + bytes(8)
    + lzma.compress(tar_of_files()[700:]),
    "tar without its end": tar_of_files()[:3584],
}


def _without_magic(tar: bytes) -> bytes:
    content = bytearray(tar)
    place = 0
    while content[place] != 0:
        size = int(content[place + 124 : place + 135], 8)
        content[place + 257 : place + 265] = bytes(8)
        content[place + 148 : place + 156] = b" " * 8
        content[place + 148 : place + 155] = b"%06o\0" % sum(content[place : place + 512])
        place += 512 + -(-size // 512) * 512
    return bytes(content)


GOOD["old tar"] = _without_magic(GOOD["old tar"])


@pytest.mark.parametrize("kind", GOOD)
def test_every_kind_of_archive_is_read(kind: str) -> None:
    assert entries(GOOD[kind]) == FILES


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_member_is_read_no_further_than_asked(kind: str) -> None:
    bomb = ("bomb", bytes(100 << 20))
    pack = {
        "zip": lambda: zip_of(bomb, compression=zipfile.ZIP_DEFLATED),
        "tar.gz": lambda: gzip.compress(tarred(bomb), 1),
    }
    content = pack[kind]()
    assert len(content) < 1 << 20
    assert peak_of(lambda: entries(content)) < 40 << 20  # the table of contents may have 32 MiB
    assert entries(content) == {"bomb": bytes(LIMIT)}


def peak_of(work: Callable[[], object]) -> int:
    """Bytes of memory that Python has at most meanwhile."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def with_mode(mode: int) -> bytes:
    info = zipfile.ZipInfo("special")
    info.external_attr = mode << 16
    return zipped(lambda archive: archive.writestr(info, b"/etc/passwd"))


def encrypted() -> bytes:
    content = bytearray(zip_of(("special", b"x" * 20)))
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    return bytes(content)


def damaged_zip() -> bytes:
    content = bytearray(zip_of(("special", b"x" * 20)))
    content[content.index(b"xxxx")] ^= 1
    return bytes(content)


def other_name() -> bytes:
    content = zip_of(("special", b"x"))
    return content.replace(b"special", b"spatial", 1)


def half_of_the_data() -> bytes:
    packed = zlib.compress(os.urandom(5000))[2:-4]
    content = zip_of(("special", os.urandom(5000)), compression=zipfile.ZIP_DEFLATED)
    start = content.index(b"special") + 7
    return content[:start] + bytes(len(packed) // 2) + content[start + len(packed) // 2 :]


SPARSE = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "9"}
BAD_MEMBERS = {
    "symbolic link in a zip": (with_mode(0o120777), "is a symbolic link"),
    "device in a zip": (with_mode(0o020666), "is a device"),
    "pipe in a zip": (with_mode(0o010666), "is a device"),
    "encrypted": (encrypted(), "is encrypted"),
    "LZMA in a zip": (
        zip_of(("special", b"x"), compression=14),
        "compressed by method 14",
    ),
    "bzip2 in a zip": (
        zip_of(("special", b"x"), compression=12),
        "compressed by method 12",
    ),
    "wrong checksum": (damaged_zip(), "is damaged in the archive (Bad CRC-32"),
    "two names of one member": (other_name(), "is damaged in the archive (File name"),
    "deflated data that is none": (half_of_the_data(), "is damaged in the archive (Error -3"),
    "symbolic link in a tar": (tarred(special(tarfile.SYMTYPE, linkname="/etc")), "is a link"),
    "hard link": (tarred(special(tarfile.LNKTYPE, linkname="/etc/passwd")), "is a link"),
    "character device": (tarred(special(tarfile.CHRTYPE)), "is a device"),
    "block device": (tarred(special(tarfile.BLKTYPE)), "is a device"),
    "pipe": (tarred(special(tarfile.FIFOTYPE)), "is a device"),
    "member of an unknown type": (tarred(special(b"Z", size=5)), "is a device or the like"),
    "sparse file": (
        tarred(
            special(tarfile.REGTYPE, pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "9"})
        ),
        "is a sparse file",
    ),
}


@pytest.mark.parametrize("kind", BAD_MEMBERS)
def test_a_bad_member_is_told_and_the_others_are_read(kind: str) -> None:
    content, reason = BAD_MEMBERS[kind]
    found = entries(content)
    assert list(found) == ["special"]
    assert str(found["special"]).startswith(reason) or reason in str(found["special"])


class Refused(io.FileIO):
    """A file that the system refuses to read from some time on."""

    is_refused = False

    def readinto(self, place: Any, /) -> int | None:
        if self.is_refused:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().readinto(place)


def test_what_the_system_refuses_is_no_damage_of_a_member() -> None:
    file = Refused(os.memfd_create("archive"), "r+")
    large = os.urandom(100_000)  # which lies between the first member and what is read before
    file.write(zip_of(*FILES.items(), ("large", large)))
    file.seek(0)
    members = open_archive(file, max_bytes=1 << 30, max_members=100).members()
    _, member = next(members)
    file.is_refused = True
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        member.read(LIMIT)
    file.is_refused = False
    assert member.read(LIMIT) == FILES[member.name]


def huge_directory() -> bytes:
    """Its end says that the table of contents has 64 MiB."""
    table = bytes(64 << 20)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(table), 4, 0)
    return b"PK\3\4" + table + end


def endless_header() -> bytes:
    """An extended header of 8 GB, as far as it says, of which 50 MB are there."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 8_000_000_000
    return info.tobuf(tarfile.GNU_FORMAT) + b"1" * 50_000_000


def header_upon_header() -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 4
    return (info.tobuf() + b"name".ljust(512, b"\0")) * 5000 + tarred(("a", b"a"))


def middle_damaged() -> bytes:
    content = bytearray(tarred(*[(f"{place}.png", bytes(500)) for place in range(5)]))
    content[2048:2560] = os.urandom(512)
    return bytes(content)


BAD_ARCHIVES = {
    "RAR": (b"Rar!\x1a\x07\0" + bytes(900), "is a RAR file; it takes a zip archive, or tar"),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c" + bytes(900), "is a 7-Zip file"),
    "Zstandard": (b"\x28\xb5\x2f\xfd" + bytes(900), "is a Zstandard file"),
    "a photograph": (b"\xff\xd8\xff\xe0" + bytes(900), "is a JPEG file"),
    "anything": (b"hello " * 200, "is not an archive that the service knows"),
    "one byte": (b"P", "is not an archive that the service knows"),
    "a zip without its end": (GOOD["stored zip"][:-30], "the zip archive is damaged or incomplete"),
    "a zip that ends in between": (GOOD["stored zip"][:600], "the zip archive is damaged"),
    "a zip with a huge table of contents": (huge_directory(), "its table of contents is larger"),
    "a tar that ends in a member": (tar_of_files()[:2000], "is damaged or incomplete"),
    "a tar that ends in a header": (tar_of_files()[:1300], "is damaged after 1 members"),
    "a tar damaged in the middle": (middle_damaged(), "is damaged after 2 members"),
    "a tar.gz that ends too early": (gzip.compress(tar_of_files())[:-300], "is damaged or incom"),
    "a tar.gz with a wrong checksum": (
        gzip.compress(tar_of_files())[:-8] + bytes(8),
        "is damaged or incomplete",
    ),
    "a tar.xz that ends too early": (lzma.compress(tar_of_files())[:-100], "is damaged or incom"),
    "a tar.xz that wants too much memory": (
        lzma.compress(tar_of_files(), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]),
        "Memory usage limit",
    ),
    "a tar.bz2 that is none": (b"BZh9" + bytes(500), "is damaged or incomplete"),
    "a gzipped photograph": (gzip.compress(b"\xff\xd8\xff" + bytes(900)), "is damaged or incom"),
    "an extended header without end": (endless_header(), "larger than such a thing ever needs"),
    "headers upon headers": (header_upon_header(), "the tar archive is damaged or incomplete"),
}


@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_a_bad_archive_is_refused_in_words(kind: str) -> None:
    content, reason = BAD_ARCHIVES[kind]

    def read() -> None:
        with pytest.raises(BadInputError, match=re.escape(reason)):
            entries(content)

    assert peak_of(read) < 60 << 20


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_stream_may_expand_only_so_far(pack: Callable[[bytes], bytes]) -> None:
    """Also by what nobody reads: a link that claims to have content is passed over."""
    hidden = special(b"Z", size=30 << 20)
    content = pack(tarred(hidden, ("a.png", b"a")))
    assert set(entries(content)) == {"special", "a.png"}
    with pytest.raises(BadInputError, match="expands to more than 10000000 bytes"):
        entries(content, max_bytes=10_000_000)


def test_members_are_counted() -> None:
    many = [(f"{place}.png", b"") for place in range(101)]
    for content in (
        tarred(*many),
        zip_of(*many),
    ):
        assert len(entries(content, max_members=101)) == 101
        with pytest.raises(BadInputError, match="more than 100 files"):
            entries(content, max_members=100)


def test_headers_that_follow_each_other_are_forgotten() -> None:
    """A library that kept what every header says would fill the memory."""
    content = io.BytesIO()
    for place in range(100):
        headers = {f"key{place}-{each}": "x" * 1000 for each in range(100)}
        with tarfile.open(fileobj=content, mode="w", pax_headers=headers) as archive:
            info = tarfile.TarInfo(f"{place}.png")
            archive.addfile(info)
            archive.fileobj = io.BytesIO()  # which takes the end: another archive follows
    archive = content.getvalue()
    assert len(archive) > 10_000_000
    assert len(entries(archive)) == 100
    assert peak_of(lambda: entries(archive)) < 3 << 20


@pytest.mark.parametrize("kind", GOOD)
def test_an_archive_with_random_damage_is_read_or_refused(kind: str) -> None:
    generator = random.Random(kind)
    for _ in range(40):
        content = bytearray(GOOD[kind])
        for _ in range(generator.randrange(1, 6)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        try:
            found = entries(bytes(content[: generator.randrange(len(content) + 1) or None]))
        except BadInputError:
            continue
        assert all(isinstance(held, bytes | str) for held in found.values())
