"""The files of an archive or a folder, before anybody has looked into them."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from services.errors import BadInputError
from services.names import CONTROL

CHUNK = 1 << 18  # bytes that are read at a time
MAX_NAME = 500  # characters


@dataclass(frozen=True)
class Member:
    """One file.

    Args:
        name: its path, as the archive or the folder has it: never to be used as one.
        fault: why it is not read, in words; None if it may be.
        read: at most so many of its first bytes; only while it is the last that was handed
            out. Raises BadMemberError if they are damaged.
    """

    name: str
    fault: str | None
    read: Callable[[int], bytes]


class BadMemberError(Exception):
    """One file cannot be read; the message says why, after the file's name."""


class Source(Protocol):
    """Where files come from; the same ones in the same order every time."""

    steps: int  # how many there are to make

    def members(self) -> Iterator[tuple[int, Member]]:
        """Each file, and the steps that are made once it is done.

        Raises: BadInputError if the whole cannot be read, or not any further.
        """


def check_count(count: int, most: int) -> None:
    """Refuse what holds too many files."""
    if count > most:
        raise BadInputError(
            f"there are more than {most} files and folders, which is the most that is accepted: "
            "make several data sets of them, or set MDF_MAX_DATASET_IMAGES"
        )


def shown(name: str) -> str:
    """A file's name as people and databases can read it."""
    name = name.encode("utf-8", "replace").decode()  # archives may hold half characters
    name = re.sub(f"[{CONTROL}]", "�", name)
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


def unreadable(_: int) -> bytes:
    """What reads a file that has a fault."""
    raise AssertionError("a file with a fault is not read")
