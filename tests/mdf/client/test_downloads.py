"""Downloads arrive whole or not at all."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from mdf.client.downloads import download
from mdf.client.transport import Transport
from mdf.errors import ApiError, DownloadError, UnreachableError

CONTENT = bytes(range(256)) * 400
DIGEST = sha256(CONTENT).hexdigest()


def fetch(server: Any, target: Path, **options: Any) -> Path:
    transport = Transport(server.url, None, timeout=60, retries=0)
    return download(transport, "/file", target, digest=DIGEST, **options)


def test_the_file_appears_with_its_bytes(server: Any, tmp_path: Path) -> None:
    server.reply(200, CONTENT)
    heard: list[int] = []
    path = fetch(server, tmp_path / "new folder" / "loss.bin", on_bytes=heard.append)
    assert path.read_bytes() == CONTENT
    assert heard[-1] == len(CONTENT)
    assert list(path.parent.iterdir()) == [path]


def test_a_broken_connection_is_taken_up_where_it_broke(server: Any, tmp_path: Path) -> None:
    size = len(CONTENT)
    server.break_off(200, CONTENT[:1000], length=size)
    server.break_off(206, CONTENT[1000:5000], length=size - 1000)
    server.hang_up()
    server.reply(206, CONTENT[5000:], Content_Range=f"bytes 5000-{size - 1}/{size}")
    assert fetch(server, tmp_path / "loss.bin").read_bytes() == CONTENT
    assert [asked.headers.get("Range") for asked in server.asked] == [
        None,
        "bytes=1000-",
        "bytes=5000-",
        "bytes=5000-",
    ]
    assert server.asked[-1].headers["If-Range"] == f'"{DIGEST}"'


def test_a_server_that_ignores_the_range_sends_all_anew(server: Any, tmp_path: Path) -> None:
    server.break_off(200, b"other bytes", length=len(CONTENT))
    server.reply(200, CONTENT)
    assert fetch(server, tmp_path / "loss.bin").read_bytes() == CONTENT


def test_damaged_bytes_are_refused_and_the_old_file_stays(server: Any, tmp_path: Path) -> None:
    target = tmp_path / "loss.bin"
    target.write_bytes(b"old")
    server.reply(200, CONTENT[:-1] + b"\0")
    with pytest.raises(DownloadError, match="arrived damaged: its SHA-256 is"):
        fetch(server, target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_server_that_stays_away_leaves_nothing_behind(server: Any, tmp_path: Path) -> None:
    server.break_off(200, CONTENT[:10], length=len(CONTENT))
    server.hang_up()
    with pytest.raises(UnreachableError):
        fetch(server, tmp_path / "loss.bin")
    assert list(tmp_path.iterdir()) == []
    assert len(server.asked) == 5


def test_a_refusal_is_not_repeated(server: Any, tmp_path: Path) -> None:
    server.reply_json(404, {"code": "not_found", "detail": "no loss loss_1"})
    with pytest.raises(ApiError, match="no loss loss_1"):
        fetch(server, tmp_path / "loss.bin")
    assert len(server.asked) == 1
