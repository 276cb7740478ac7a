"""Files that are there whole or not at all, also after a kill or a power cut."""

import os
import shutil
from pathlib import Path


def replace_file(path: Path, content: bytes | Path, *, draft: str) -> None:
    """Write `content` under the name `draft` in the same folder, then rename it to `path`.

    Of a Path, what is in that file is copied, a piece at a time.

    When this returns, the file is durable, and so are the folders made for it. A kill
    leaves at most the draft.
    """
    _make_folder(path.parent)
    written = path.with_name(draft)
    try:
        with written.open("wb") as file:
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file)
            else:
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
