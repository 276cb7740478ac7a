"""Files that are there whole or not at all, also after a kill or a power cut."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes, *, draft: str) -> None:
    """Write `content` under the name `draft` in the same folder, then rename it to `path`.

    When this returns, the file is durable, and so are the folders made for it. A kill
    leaves at most the draft.
    """
    _make_folder(path.parent)
    written = path.with_name(draft)
    try:
        with written.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
    except BaseException:
        written.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
