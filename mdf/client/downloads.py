"""Downloads that arrive whole or not at all."""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from time import sleep
from typing import BinaryIO
from uuid import uuid4

from mdf.client.transport import Transport
from mdf.errors import DownloadError, UnreachableError

_ATTEMPTS = 5


def download(
    transport: Transport,
    path: str,
    target: Path,
    *,
    digest: str,
    on_bytes: Callable[[int], None] | None = None,
    **params: str,
) -> Path:
    """Save what lies at `path` on the server as `target`, which appears at the end, complete.

    A connection that breaks is made anew and continues at the byte where it broke. The
    bytes must have the SHA-256 `digest`. `on_bytes` hears how many have come so far.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        with part.open("x+b") as file:
            _fill(transport, path, file, digest=digest, on_bytes=on_bytes, **params)
            file.seek(0)
            found = _digest(file)
            if found != digest:
                raise DownloadError(
                    f"{transport.url}{path} arrived damaged: its SHA-256 is {found}, "
                    f"the server had named {digest}; nothing was saved"
                )
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _fill(
    transport: Transport,
    path: str,
    file: BinaryIO,
    *,
    digest: str,
    on_bytes: Callable[[int], None] | None,
    **params: str,
) -> None:
    for attempt in range(_ATTEMPTS):
        have = file.tell()
        # If the file has changed in between, the server sends it from the start, with 200.
        resume = {"Range": f"bytes={have}-", "If-Range": f'"{digest}"'} if have else {}
        headers = {"Accept-Encoding": "identity", **resume}
        try:
            with transport.stream(path, headers=headers, read_timeout=30.0, **params) as response:
                if response.status_code != 206:
                    file.seek(0)
                    file.truncate()
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    if on_bytes is not None:
                        on_bytes(file.tell())
        except UnreachableError:
            if attempt == _ATTEMPTS - 1:
                raise
            sleep(0.25 * 2**attempt)
        else:
            return


def _digest(file: BinaryIO) -> str:
    digest = sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()
