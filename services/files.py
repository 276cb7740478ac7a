"""Files that are there whole or not at all, also after a kill or a power cut."""

import errno
import os
import shutil
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 20
_UNREADABLE = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN})


def replace_file(path: Path, content: bytes | BinaryIO, *, draft: str) -> None:
    """Write `content` under the name `draft` in the same folder, then rename it to `path`.

    Of an open file, what follows in it is copied, a piece at a time.

    When this returns, the file is durable, and so are the folders made for it. A kill
    leaves at most the draft.
    """
    _make_folder(path.parent)
    written = path.with_name(draft)
    try:
        with written.open("wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                shutil.copyfileobj(content, file, _CHUNK)
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
    except BaseException:
        written.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def is_disk_full(error: BaseException) -> bool:
    """Whether the system refused to write for want of space, or of a quota's."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def is_unreadable(error: BaseException) -> bool:
    """Whether the disk could not give what is stored: a bad sector, or a damaged file system."""
    return isinstance(error, OSError) and error.errno in _UNREADABLE


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)
