"""Uploads that outlast broken connections, killed servers and interrupted people."""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

import mdf.client.datasets as module
from mdf.client import Client
from mdf.errors import ApiError, MDFError, UnreachableError

PHOTO = np.ascontiguousarray(data.astronaut()[:48, :64])


class Keeper:
    """A server that keeps an upload, and fails as its script says: once a PATCH."""

    def __init__(self) -> None:
        self.kept = b""
        self.size = 0
        self.faults: list[str] = []
        self.requests: list[tuple[int, int]] = []  # offset and length of each PATCH
        keeper = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                keeper.size = json.loads(body)["source"]["size"]
                self._tell(201)

            def do_GET(self) -> None:
                self._tell(200)

            def do_HEAD(self) -> None:
                self._answer(200, **{"Upload-Offset": str(len(keeper.kept))})

            def do_PATCH(self) -> None:
                fault = keeper.faults.pop(0) if keeper.faults else ""
                offset, length = (
                    int(self.headers[name]) for name in ("Upload-Offset", "Content-Length")
                )
                keeper.requests.append((offset, length))
                if fault == "hang up":
                    keeper.kept += self.rfile.read(length // 2)
                    self.close_connection = True
                    self.connection.close()
                    return
                content = self.rfile.read(length)
                if fault.isdecimal():
                    self._answer(int(fault), b'{"code": "%s"}' % keeper.code.encode())
                    return
                assert offset == len(keeper.kept)
                keeper.kept += content
                if fault == "answer lost":
                    self.close_connection = True
                    self.connection.close()
                    return
                self._answer(204)

            def _tell(self, status: int) -> None:
                state = "uploading" if len(keeper.kept) < keeper.size else "importing"
                self._answer(
                    status,
                    b'{"id": "ds_1", "name": "x", "source": {}, "created": "2026-01-02T03:04:05Z",'
                    b'"state": "%s", "size": %d, "received": %d}'
                    % (state.encode(), keeper.size, len(keeper.kept)),
                )

            def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/problem+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self.code = "unavailable"
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(module, "_PART", 100_000)
    monkeypatch.setattr(module, "_PROBE", 10_000)
    server = Keeper()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "photos.zip"
    path.write_bytes(os.urandom(250_000))
    return path


def test_an_upload_is_sent_in_pieces(keeper: Keeper, archive: Path) -> None:
    told: list[tuple[int, int]] = []
    with Client(keeper.url) as client:
        dataset = client.datasets.upload(archive, on_bytes=lambda *sent: told.append(sent))
    assert keeper.kept == archive.read_bytes()
    assert dataset.state == "importing"
    assert keeper.requests == [(0, 100_000), (100_000, 100_000), (200_000, 50_000)]
    assert told[-1] == (250_000, 250_000)
    assert told == sorted(told)


@pytest.mark.parametrize("fault", ["hang up", "answer lost", "503", "409", "408"])
def test_an_upload_goes_on_where_it_broke(keeper: Keeper, archive: Path, fault: str) -> None:
    keeper.faults = ["", fault, fault, "", fault]
    with Client(keeper.url) as client:
        client.datasets.upload(archive)
    assert keeper.kept == archive.read_bytes()


def test_a_refusal_that_will_not_pass_ends_the_upload(keeper: Keeper, archive: Path) -> None:
    with Client(keeper.url) as client:
        keeper.faults = ["403"]
        with pytest.raises(ApiError):
            client.datasets.upload(archive)
        keeper.faults, keeper.code = ["507"], "disk_full"
        with pytest.raises(ApiError) as refusal:
            client.datasets.upload(archive)
        assert refusal.value.code == "disk_full"
        assert len(keeper.requests) == 2


def test_patience_ends(keeper: Keeper, archive: Path) -> None:
    keeper.faults = ["hang up"] * 1000
    keeper.kept = b""
    with Client(keeper.url, retries=0) as client, pytest.raises(UnreachableError):
        client.datasets.upload(archive, patience=0)


def test_an_interrupted_upload_is_taken_up_by_its_id(keeper: Keeper, archive: Path) -> None:
    content = archive.read_bytes()
    keeper.size, keeper.kept = len(content), content[:120_000]
    with Client(keeper.url) as client:
        client.datasets.upload(archive, dataset_id="ds_1")
        assert keeper.kept == content
        assert keeper.requests[0] == (120_000, 100_000)
        archive.write_bytes(content[:-1])
        with pytest.raises(MDFError, match="has 249999 bytes, and data set ds_1 expects 250000"):
            client.datasets.upload(archive, dataset_id="ds_1")


def test_a_folder_is_packed_alike_every_time(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    (folder / "b.png").write_bytes(b"b")
    (folder / "inner" / "a.png").write_bytes(b"a" * 5000)
    (folder / ".hidden").write_bytes(b"h")
    digests = set()
    for moment in (1, 1_000_000_000):
        os.utime(folder / "b.png", (moment, moment))
        with module._archive(folder) as (archive, size):
            archive.seek(0)
            content = archive.read()
            assert len(content) == size
            digests.add(hashlib.sha256(content).hexdigest())
            with zipfile.ZipFile(archive) as packed:
                assert packed.namelist() == ["b.png", "inner/a.png"]
                assert packed.read("inner/a.png") == b"a" * 5000
    assert len(digests) == 1


def save(folder: Path, count: int) -> None:
    folder.mkdir()
    for place in range(count):
        Image.fromarray(np.roll(PHOTO, place, axis=1)).save(folder / f"{place}.png")


def test_a_folder_becomes_a_data_set_on_a_real_server(service: Any, tmp_path: Path) -> None:
    save(tmp_path / "cats", 4)
    (tmp_path / "cats" / "notes.txt").write_text("no picture")
    with Client(service.url) as client:
        dataset = client.datasets.upload(tmp_path / "cats")
        assert dataset.name == "cats"
        dataset = client.datasets.wait(dataset.id, timeout=60)
        assert (dataset.state, dataset.images, dataset.done) == ("ready", 4, True)
        assert [(bad.name, bad.reason[:18]) for bad in dataset.bad_files] == [
            ("notes.txt", "the file is not an")
        ]
        images = list(client.datasets.images(dataset.id))
        assert [image.name for image in images] == [f"{place}.png" for place in range(4)]
        saved = client.datasets.save_image(dataset.id, 2, tmp_path / "2.png")
        np.testing.assert_array_equal(np.asarray(Image.open(saved)), np.roll(PHOTO, 2, axis=1))
        sheet = client.datasets.save_sheet(dataset.id, tmp_path / "sheet.png")
        assert Image.open(sheet).format == "PNG"
        assert client.datasets.list(limit=1)[0].id == dataset.id
        assert dataset.id in [each.id for each in client.datasets.iterate()]
        client.datasets.delete(dataset.id)
        with pytest.raises(ApiError, match="no data set"):
            client.datasets.get(dataset.id)


def test_waiting_for_an_upload_that_stopped_is_an_error(service: Any) -> None:
    with Client(service.url) as client:
        dataset = client.datasets._create(
            {"kind": "upload", "size": 9}, name="x", on_bad_file="skip"
        )
        with pytest.raises(MDFError, match="0 of 9 bytes"):
            client.datasets.wait(dataset.id)
        with pytest.raises(ApiError, match="imports no folders"):
            client.datasets.import_folder("/data")
        client.datasets.delete(dataset.id)
