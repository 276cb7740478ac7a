"""Downloads from a real server: validators, ranges, HEAD, and files that vanish."""

import io
from base64 import b64decode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from api.downloads import download, stored
from services.blobs import StoredFile
from services.errors import StorageError
from services.installation import Installation


@pytest.fixture
def content_url(live) -> str:
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, "PNG")
    answer = httpx.post(f"{live.url}/v1/images", files={"file": ("noise.png", content.getvalue())})
    return f"{live.url}/v1/images/{answer.json()['id']}/content"


def test_a_file_comes_whole_with_its_digests(content_url: str) -> None:
    answer = httpx.get(content_url)
    digest = sha256(answer.content)
    assert answer.status_code == 200
    assert answer.headers["etag"] == f'"{digest.hexdigest()}"'
    kind, _, value = answer.headers["repr-digest"].partition("=")
    assert kind == "sha-256"
    assert b64decode(value.strip(":")) == digest.digest()
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_head_tells_the_same_without_the_file(content_url: str) -> None:
    whole = httpx.get(content_url)
    head = httpx.head(content_url, headers={"Range": "bytes=0-1"})
    assert head.status_code == 200
    assert head.content == b""
    for name in ("etag", "content-length", "content-type", "repr-digest", "content-disposition"):
        assert head.headers[name] == whole.headers[name]


def test_a_file_that_is_known_is_not_sent_again(content_url: str) -> None:
    etag = httpx.get(content_url).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = httpx.get(content_url, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
    assert httpx.get(content_url, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_broken_download_goes_on_where_it_broke(content_url: str) -> None:
    whole = httpx.get(content_url)
    etag = whole.headers["etag"]
    rest = httpx.get(content_url, headers={"Range": "bytes=1000-", "If-Range": etag})
    assert rest.status_code == 206
    assert (
        rest.headers["content-range"] == f"bytes 1000-{len(whole.content) - 1}/{len(whole.content)}"
    )
    assert rest.content == whole.content[1000:]
    changed = httpx.get(content_url, headers={"Range": "bytes=1000-", "If-Range": '"other"'})
    assert (changed.status_code, changed.content) == (200, whole.content)


def test_a_range_beyond_the_end_is_refused(content_url: str, assert_problem) -> None:
    size = int(httpx.head(content_url).headers["content-length"])
    for wanted in (f"bytes={size}-", "bytes=-0", f"bytes={size + 5}-{size + 9}"):
        answer = httpx.get(content_url, headers={"Range": wanted})
        assert_problem(answer, 416, "range_not_satisfiable")
        assert answer.headers["content-range"] == f"bytes */{size}"


@given(
    first=st.none() | st.integers(0, 1200),
    last=st.none() | st.integers(0, 1200),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_range_gives_those_bytes(
    installation: Installation, first: int | None, last: int | None
) -> None:
    content = bytes(range(250)) * 4
    file = installation.blobs.put("x/y", content)
    wanted = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    status, body = fetch(installation, file, wanted)
    backwards = first is not None and last is not None and last < first
    invalid = backwards or (first is None and last is None)
    if invalid:
        expected = content  # not a range: ignored
    elif first is None:
        expected = content[-last:] if last else b""
    else:
        expected = content[first : None if last is None else last + 1]
    if invalid:
        assert status == 200
    else:
        assert status == (206 if expected else 416)
    if status != 416:
        assert body == expected


@pytest.mark.parametrize(
    "wanted", ["bytes=0-1,5-6", "bytes=5-2", "lines=1-2", "bytes=a-b", "bytes", "", "0-5"]
)
def test_what_is_not_one_range_of_bytes_gives_the_whole(
    installation: Installation, wanted: str
) -> None:
    file = installation.blobs.put("x/y", b"0123456789")
    assert fetch(installation, file, wanted) == (200, b"0123456789")


def test_a_file_that_is_gone_is_not_found(
    content_url: str, installation: Installation, assert_problem
) -> None:
    for key in installation.blobs.keys("images"):
        installation.blobs.delete(key)
    assert_problem(httpx.get(content_url), 404, "not_found")


def test_a_file_that_is_cut_short_is_told_before_the_answer_begins(
    content_url: str, installation: Installation, assert_problem
) -> None:
    (key,) = installation.blobs.keys("images")
    installation.blobs.put(key, installation.blobs.get(key)[:100])
    for headers in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=200-300"}):
        told = assert_problem(httpx.get(content_url, headers=headers), 500, "internal")
        assert "the file is damaged: upload it again" in told["detail"]


def test_a_file_that_cannot_be_read_is_told_before_the_answer_begins(
    installation: Installation, lose_sector: Callable[[Path], None]
) -> None:
    assert installation.blobs.folder is not None
    lose_sector(installation.blobs.folder / "x" / "y")
    file = StoredFile("x/y", size=4096, sha256=sha256().hexdigest())
    with pytest.raises(StorageError, match="the file is damaged: upload it again"):
        fetch(installation, file, "")
    with pytest.raises(StorageError, match="the file is damaged: upload it again"):
        stored(installation.blobs, "x/y")


def fetch(installation: Installation, file: StoredFile, wanted: str) -> tuple[int, bytes]:
    request = Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/",
            "headers": [(b"range", wanted.encode())],
            "query_string": b"",
        }
    )
    answer = download(request, installation.blobs, file, media_type="image/png", filename="x.png")

    async def read() -> bytes:
        if not hasattr(answer, "body_iterator"):
            return bytes(answer.body)
        return b"".join([bytes(chunk) async for chunk in answer.body_iterator])

    import asyncio

    return answer.status_code, asyncio.run(read())
