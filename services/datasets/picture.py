"""One picture of a data set: what it is, and its pixels when they are wanted."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from os import cpu_count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.errors import BadInputError, ServiceError
from services.images import catalogue
from services.images.decoding import Limits, decode

# What programs leave beside people's pictures.
_LITTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Picture:
    """A picture that is read as often as somebody asks, and never kept.

    `read` gives the pixels, uint8 (height, width, 3) in RGB; `digest` is that of
    `services.images.decoding.pixel_digest`, and `name` the path in the data set.
    """

    name: str
    digest: str
    width: int  # px
    height: int  # px
    read: Callable[[], NDArray[np.uint8]]


def pictures_of_folder(folder: Path, limits: Limits) -> list[Picture]:
    """The pictures in `folder` and the folders below it, in the order of their names.

    Every file is decoded once here, to know that it can be; the same pixels are taken once.
    Hidden files and those that operating systems leave about are passed over.

    Raises: BadInputError naming the file that is no picture, or the folder without any.
    """
    files = sorted(folder.rglob("*"), key=lambda file: file.relative_to(folder).as_posix())
    names = [
        file.relative_to(folder).as_posix()
        for file in files
        if file.is_file() and not is_litter(file.relative_to(folder).as_posix())
    ]
    with ThreadPoolExecutor(cpu_count() or 1) as workers:
        pictures = list(workers.map(partial(_picture, folder, limits=limits), names))
    if not pictures:
        raise BadInputError(f"there is no picture in the folder {folder}")
    return list(_first_of_each(pictures))


def is_litter(name: str) -> bool:
    """Whether a path names what nobody means to be a picture: `.DS_Store`, `__MACOSX/…`."""
    parts = [part for part in name.split("/") if part not in {".", ".."}]
    return any(part.startswith(".") or part in _LITTER for part in parts)


def _picture(folder: Path, name: str, *, limits: Limits) -> Picture:
    path = folder / name

    def read() -> NDArray[np.uint8]:
        return catalogue.pixels(decode(path.read_bytes(), limits).png)

    if path.stat().st_size > limits.max_bytes:
        raise BadInputError(
            f"{path} has {path.stat().st_size} bytes; at most {limits.max_bytes} are accepted"
        )
    try:
        decoded = decode(path.read_bytes(), limits)
    except ServiceError as error:
        raise BadInputError(f"{path}: {error.message}; remove it from the folder") from error
    return Picture(name, decoded.digest, decoded.width, decoded.height, read)


def _first_of_each(pictures: list[Picture]) -> Iterator[Picture]:
    seen: set[str] = set()
    for picture in pictures:
        if picture.digest not in seen:
            seen.add(picture.digest)
            yield picture
