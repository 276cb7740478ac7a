"""Downloads that arrive whole or not at all."""

import os
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
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
    digest: str | None = None,
    on_bytes: Callable[[int], None] | None = None,
    **params: str,
) -> Path:
    """Save what lies at `path` on the server as `target`, which appears at the end, complete.

    A connection that breaks is made anew and continues at the byte where it broke. The
    bytes must have the SHA-256 `digest`, or else the one that the server's ETag names.
    `on_bytes` hears how many have come so far.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        with part.open("x+b") as file:
            named = _fill(transport, path, file, digest=digest, on_bytes=on_bytes, **params)
            file.seek(0)
            found = _digest(file)
            if found != named:
                raise DownloadError(
                    f"{transport.url}{path} arrived damaged: its SHA-256 is {found}, "
                    f"the server had named {named}; nothing was saved"
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
    digest: str | None,
    on_bytes: Callable[[int], None] | None,
    **params: str,
) -> str | None:
    """Write the bytes into `file` and return the SHA-256 that they should have."""
    for attempt in range(_ATTEMPTS):
        have = file.tell()
        headers = {"Accept-Encoding": "identity"}
        if have and digest is not None:
            # If the file has changed in between, the server sends it from the start, with 200.
            headers |= {"Range": f"bytes={have}-", "If-Range": f'"{digest}"'}
        try:
            with transport.stream(path, headers=headers, read_timeout=30.0, **params) as response:
                digest = digest or response.headers.get("ETag", "").strip('"') or None
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
            time.sleep(0.25 * 2**attempt)
        else:
            break
    return digest


def _digest(file: BinaryIO) -> str:
    digest = sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()
