"""Downloads of immutable files: validators, ranges and digests, in one place for all of them."""

import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import chain
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from api.errors import documented, problem
from services.blobs import BlobDamagedError, BlobMissingError, Blobs, StoredFile
from services.database.schema import Image
from services.errors import FileMissingError, NotFoundError, StorageError
from services.names import CONTROL

RESPONSES = {
    200: {"description": "the file, with ETag (its SHA-256) and Repr-Digest"},
    206: {"description": "the part that `Range` asks for"},
    304: {"description": "the file is the one that `If-None-Match` names"},
    **documented(404, 416),
}

_DAMAGED = "the file is damaged: upload it again, or take it from a backup"
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")


def download(
    request: Request, blobs: Blobs, file: StoredFile, *, media_type: str, filename: str
) -> Response:
    """Answer GET or HEAD for `file` as RFC 9110 has it; of several ranges, none is honoured."""
    etag = f'"{file.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        "Repr-Digest": f"sha-256=:{b64encode(bytes.fromhex(file.sha256)).decode()}:",
    }
    if _names(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    start, end, status = 0, file.size, 200
    wanted = _wanted(request.headers.get("range", ""))
    asked = request.method == "GET" and request.headers.get("if-range", etag) == etag
    if wanted is not None and asked:
        start, end, status = *_bounds(wanted, file.size), 206
        if start >= end:
            return problem(
                request.scope,
                status=416,
                code="range_not_satisfiable",
                detail=f"the file has {file.size} bytes, and none of them in that range",
                headers={"Content-Range": f"bytes */{file.size}"},
            )
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    headers["Content-Length"] = str(end - start)
    headers["Content-Disposition"] = disposition(filename)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    chunks = _open(blobs, file, start, end - start)
    return StreamingResponse(chunks, status, headers, media_type=media_type)


def stored(blobs: Blobs, blob: str) -> StoredFile:
    """What lies under a key whose size and digest no row keeps: small files only."""
    content = _read_whole(blobs, blob)
    return StoredFile(blob=blob, size=len(content), sha256=sha256(content).hexdigest())


def _read_whole(blobs: Blobs, blob: str) -> bytes:
    """The whole of a blob; NotFoundError if it was deleted after its row was read."""
    with _telling():
        return blobs.get(blob)


def read_image(blobs: Blobs, image: Image) -> bytes:
    """The PNG of an image; NotFoundError if it was deleted after its row was read."""
    return read_file(blobs, image.blob, sha256=image.sha256, of=f"image {image.id}")


def read_file(blobs: Blobs, key: str, *, sha256: str, of: str) -> bytes:
    """As `blobs.read`, where the object may have been deleted after its row was read."""
    try:
        return blobs.read(key, sha256=sha256, of=of)
    except FileMissingError as error:
        raise NotFoundError(f"{error.message}, unless it was deleted meanwhile") from error


def plain_name(name: str, fallback: str) -> str:
    """`name` without what a file name cannot hold."""
    name = name.encode("utf-8", "replace").decode()  # half characters come from odd charsets
    return re.sub(rf"[{CONTROL}/\\:*?\"<>|]+", "-", name).strip(" .-")[:100] or fallback


def _names(condition: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in condition.split(",")]
    return etag in tags or tags == ["*"]


def _wanted(header: str) -> re.Match[str] | None:
    """The range asked for; one that ends before it begins is invalid, and as if not there."""
    wanted = _RANGE.fullmatch(header.replace(" ", ""))
    if wanted is not None and wanted[1] and wanted[2] and int(wanted[2]) < int(wanted[1]):
        return None
    return wanted


def _bounds(wanted: re.Match[str], size: int) -> tuple[int, int]:
    first, last, suffix = wanted.groups()
    if suffix is not None:
        return max(0, size - int(suffix)), size if int(suffix) else 0
    return int(first), min(size, int(last) + 1) if last else size


def _open(blobs: Blobs, file: StoredFile, start: int, length: int) -> Iterator[bytes]:
    """The bytes; a file that is gone, or cannot be read, is found out before the answer begins."""
    if blobs.size(file.blob) not in (file.size, None):
        raise StorageError(_DAMAGED)
    chunks = blobs.stream(file.blob, start=start, length=length)
    with _telling():
        first = next(chunks, b"")
    return chain([first], chunks)


@contextmanager
def _telling() -> Iterator[None]:
    """Turn what the store says of a blob into errors of the service."""
    try:
        yield
    except BlobMissingError as error:
        raise NotFoundError("the file is gone: it was deleted meanwhile") from error
    except BlobDamagedError as error:
        raise StorageError(_DAMAGED) from error


def disposition(filename: str) -> str:
    """The header `Content-Disposition` of a file of that name."""
    plain = filename.encode("ascii", "replace").decode().replace("?", "_")
    encoded = f"; filename*=UTF-8''{quote(filename)}" if plain != filename else ""
    return f'attachment; filename="{plain}"{encoded}'
