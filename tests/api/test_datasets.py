"""Data sets over HTTP: uploads in parts, lists, pictures, deletion."""

import io
import socket
import threading
import zipfile
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from skimage import data

from api import runtime
from api.routers import datasets as router
from services.access import LOCAL
from services.datasets import catalogue, uploads
from services.errors import UnavailableError
from services.installation import Installation
from services.jobs import claims
from services.jobs.execution import COMPUTATIONS, execute
from services.jobs.run import JobRun
from tests.waiting import wait_until

PHOTO = np.ascontiguousarray(data.astronaut()[:48, :64])
BINARY = "application/octet-stream"


def archive(count: int = 3) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for place in range(count):
            png = io.BytesIO()
            Image.fromarray(np.roll(PHOTO, place, axis=0)).save(png, "PNG")
            packed.writestr(f"photos/{place}.png", png.getvalue())
        packed.writestr("notes.txt", "no picture")
    return content.getvalue()


def create(client: TestClient, size: int, **fields: Any) -> dict[str, Any]:
    wanted = {"name": "my photos", "source": {"kind": "upload", "size": size}, **fields}
    answer = client.post("/v1/datasets", json=wanted)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/datasets/{answer.json()['id']}"
    return answer.json()


def send(client: TestClient, dataset_id: str, offset: int, content: Any, **headers: str) -> Any:
    given = {"Content-Type": BINARY, "Upload-Offset": str(offset), **headers}
    return client.patch(f"/v1/datasets/{dataset_id}/content", content=content, headers=given)


def work(installation: Installation) -> None:
    """Do what a worker does with the next import."""
    with installation.database.write() as session:
        wanted = claims.candidate(session, "prepare")
        assert wanted is not None
        lease = timedelta(seconds=30)
        assert claims.claim(session, wanted, holder="test", host="test", lease=lease)
    execute(installation, JobRun(installation, wanted, threading.Event()), COMPUTATIONS)


@pytest.fixture
def dataset(client: TestClient, installation: Installation) -> dict[str, Any]:
    """A data set of three pictures."""
    content = archive()
    made = create(client, len(content))
    assert send(client, made["id"], 0, content).status_code == 204
    work(installation)
    return dict(client.get(f"/v1/datasets/{made['id']}").json())


def test_an_archive_arrives_in_parts_and_becomes_a_data_set(
    client: TestClient, installation: Installation
) -> None:
    content = archive()
    made = create(client, len(content))
    assert (made["state"], made["received"], made["size"]) == ("uploading", 0, len(content))
    path = f"/v1/datasets/{made['id']}"
    assert send(client, made["id"], 0, content[:1000]).headers["upload-offset"] == "1000"
    asked = client.head(f"{path}/content")
    assert asked.headers["upload-offset"] == "1000"
    assert asked.headers["upload-length"] == str(len(content))
    assert asked.headers["cache-control"] == "no-store"
    assert client.get(path).json()["received"] == 1000
    assert send(client, made["id"], 1000, content[1000:]).status_code == 204
    importing = client.get(path).json()
    assert importing["state"] == "importing"
    job = client.get(f"/v1/jobs/{importing['job_id']}").json()
    assert (job["type"], job["state"], job["name"]) == ("dataset_import", "queued", "my photos")
    work(installation)
    ready = client.get(path).json()
    assert (ready["state"], ready["images"], ready["pixels"]) == ("ready", 3, 3 * 48 * 64)
    assert len(ready["digest"]) == 64
    assert ready["ready"].endswith("Z")
    assert [bad["name"] for bad in ready["bad_files"]] == ["notes.txt"]
    assert ready["bad_file_count"] == 1
    job = client.get(f"/v1/jobs/{importing['job_id']}").json()
    assert (job["state"], job["dataset_id"]) == ("succeeded", made["id"])


def test_a_body_of_unknown_length_is_kept_part_by_part(
    client: TestClient, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 4096)
    content = archive()
    made = create(client, len(content))
    pieces = (content[start : start + 1500] for start in range(0, len(content), 1500))
    assert send(client, made["id"], 0, pieces).status_code == 204
    assert len(installation.blobs.keys("uploads")) == -(-len(content) // 4096)
    work(installation)
    assert client.get(f"/v1/datasets/{made['id']}").json()["state"] == "ready"


def test_parts_that_do_not_fit_are_refused_in_words(client: TestClient, assert_problem) -> None:
    dataset_id = create(client, 100)["id"]
    assert send(client, dataset_id, 0, bytes(10)).status_code == 204
    problem = assert_problem(send(client, dataset_id, 0, bytes(10)), 409, "conflict")
    assert "Upload-Offset: 10`, not 0" in problem["detail"]
    problem = assert_problem(send(client, dataset_id, 10, bytes(91)), 413, "too_large")
    assert "announced with 100" in problem["detail"]
    unannounced = send(client, dataset_id, 10, iter([bytes(91)]))
    assert_problem(unannounced, 413, "too_large")
    for headers in ({"Upload-Offset": "-1"}, {"Upload-Offset": "x"}):
        assert_problem(send(client, dataset_id, 10, b"x", **headers), 422, "bad_input")
    answer = client.patch(
        f"/v1/datasets/{dataset_id}/content", content=b"x", headers={"Content-Type": BINARY}
    )
    problem = assert_problem(answer, 422, "bad_input")
    assert "upload-offset: is required" in problem["detail"]
    form = send(client, dataset_id, 10, b"x", **{"Content-Type": "multipart/form-data"})
    assert_problem(form, 415, "unsupported_media_type")
    assert_problem(send(client, "ds_unknown", 0, b"x"), 404, "not_found")
    assert client.get(f"/v1/datasets/{dataset_id}").json()["received"] == 10


def test_what_is_wrong_with_a_new_data_set_is_told(client: TestClient, assert_problem) -> None:
    def refused(wanted: dict[str, Any]) -> dict[str, Any]:
        return dict(assert_problem(client.post("/v1/datasets", json=wanted), 422, "bad_input"))

    upload = {"kind": "upload", "size": 9}
    for wanted, pointer in (
        ({"source": upload}, "/name"),
        ({"name": "", "source": upload}, "/name"),
        ({"name": "a\nb", "source": upload}, "/name"),
        ({"name": "x"}, "/source"),
        ({"name": "x", "source": {"kind": "upload"}}, "/source/size"),
        ({"name": "x", "source": {"kind": "upload", "size": 0}}, "/source/size"),
        ({"name": "x", "source": {"kind": "folder"}}, "/source/location"),
        ({"name": "x", "source": upload, "on_bad_file": "ignore"}, "/on_bad_file"),
        ({"name": "x", "source": {"kind": "folder", "location": "/etc"}}, "/source/location"),
    ):
        assert pointer in [error["pointer"] for error in refused(wanted)["errors"]], wanted
    large = {"name": "x", "source": {"kind": "upload", "size": 1 << 50}}
    assert_problem(client.post("/v1/datasets", json=large), 413, "too_large")
    assert client.get("/v1/datasets").json()["data"] == []


def test_a_data_set_is_created_once_per_idempotency_key(client: TestClient) -> None:
    wanted = {"name": "x", "source": {"kind": "upload", "size": 9}}
    made = [
        client.post("/v1/datasets", json=wanted, headers={"Idempotency-Key": "k"}).json()["id"]
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert len(client.get("/v1/datasets").json()["data"]) == 1


def test_the_pictures_and_the_sheet_can_be_looked_at(
    client: TestClient, dataset: dict[str, Any], assert_problem
) -> None:
    path = f"/v1/datasets/{dataset['id']}"
    found, url = [], f"{path}/images?limit=2"
    while url:
        answer = client.get(url)
        found += answer.json()["data"]
        url = answer.links.get("next", {}).get("url", "")
    assert [each["name"] for each in found] == [f"photos/{place}.png" for place in range(3)]
    content = client.get(found[1]["href"])
    assert content.headers["content-disposition"] == 'attachment; filename="1.png"'
    assert len(content.content) == found[1]["size"]
    pixels = np.asarray(Image.open(io.BytesIO(content.content)))
    np.testing.assert_array_equal(pixels, np.roll(PHOTO, 1, axis=0))
    sheet = client.get(f"{path}/sheet")
    assert sheet.headers["content-disposition"] == 'attachment; filename="my photos-sheet.png"'
    assert Image.open(io.BytesIO(sheet.content)).size == (3 * 152 + 8, 152 + 8)
    assert client.head(f"{path}/sheet").headers["etag"] == sheet.headers["etag"]
    assert_problem(client.get(f"{path}/images/3/content"), 404, "not_found")
    assert_problem(client.get(f"{path}/images/-1/content"), 422, "bad_input")
    assert_problem(client.get(f"{path}/images?cursor=x"), 422, "bad_input")
    empty = create(client, 9)["id"]
    assert_problem(client.get(f"/v1/datasets/{empty}/sheet"), 404, "not_found")
    assert client.get(f"/v1/datasets/{empty}/images").json()["data"] == []


def test_a_deleted_data_set_is_gone(
    client: TestClient, dataset: dict[str, Any], installation: Installation, assert_problem
) -> None:
    path = f"/v1/datasets/{dataset['id']}"
    stored = sum(entry.size for entry in installation.blobs.entries(""))
    assert client.delete(path).json() == {"id": dataset["id"], "bytes_freed": stored}
    for answer in (client.get(path), client.get(f"{path}/images"), client.delete(path)):
        assert_problem(answer, 404, "not_found")
    assert installation.blobs.keys("") == []


def test_what_is_being_imported_stays(client: TestClient, assert_problem) -> None:
    content = archive()
    dataset_id = create(client, len(content))["id"]
    send(client, dataset_id, 0, content)
    problem = assert_problem(client.delete(f"/v1/datasets/{dataset_id}"), 409, "conflict")
    assert "is not finished" in problem["detail"]


def test_an_owner_sees_their_own_data_sets_only(
    client: TestClient, make_key, assert_problem
) -> None:
    make_key("admin", owner="root")
    anna, bert, reader = make_key("write"), make_key("write", owner="bert"), make_key("read")
    wanted = {"name": "x", "source": {"kind": "upload", "size": 9}}
    dataset_id = client.post("/v1/datasets", json=wanted, headers=anna).json()["id"]
    path = f"/v1/datasets/{dataset_id}"
    assert client.get(path, headers=reader).status_code == 200
    headers = {"Content-Type": BINARY, "Upload-Offset": "0"}
    for answer in (
        client.get(path, headers=bert),
        client.head(f"{path}/content", headers=bert),
        client.patch(f"{path}/content", content=b"x", headers=headers | bert),
        client.delete(path, headers=bert),
    ):
        assert answer.status_code == 404
    for refused in (
        client.post("/v1/datasets", json=wanted, headers=reader),
        client.patch(f"{path}/content", content=b"x", headers=headers | reader),
    ):
        assert_problem(refused, 403, "forbidden")
    assert client.get("/v1/datasets", headers=bert).json()["data"] == []


def test_what_came_before_a_connection_broke_is_kept(live, installation: Installation) -> None:
    """Four megabytes announced and three sent; what no program has read yet is lost."""
    host, port = "127.0.0.1", int(live.url.rpartition(":")[2])
    body = b'{"name": "x", "source": {"kind": "upload", "size": 4000000}}'
    dataset_id = ask(host, port, b"POST /v1/datasets", body, b"application/json")
    with socket.create_connection((host, port)) as connection:
        connection.sendall(
            b"PATCH /v1/datasets/" + dataset_id + b"/content HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: application/octet-stream\r\nUpload-Offset: 0\r\n"
            b"Content-Length: 4000000\r\n\r\n" + bytes(3_000_000)
        )

    def received() -> int:
        with installation.database.read() as session:
            return int(catalogue.get(session, dataset_id.decode(), LOCAL).received)

    wait_until(lambda: received() >= 2_800_000, told=received)


def ask(host: str, port: int, line: bytes, body: bytes, media_type: bytes) -> bytes:
    """Send a request by hand; gives the id in the answer."""
    with socket.create_connection((host, port)) as connection:
        connection.sendall(
            line
            + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: "
            + media_type
            + b"\r\nContent-Length: "
            + str(len(body)).encode()
            + b"\r\n\r\n"
            + body
        )
        answer = b""
        while more := connection.recv(65536):
            answer += more
    return answer.partition(b'"id": "')[2].partition(b'"')[0]


def test_a_sender_who_falls_silent_makes_room(
    live, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "_LONGEST_SILENCE", 0.3)
    host, port = "127.0.0.1", int(live.url.rpartition(":")[2])
    body = b'{"name": "x", "source": {"kind": "upload", "size": 1000}}'
    dataset_id = ask(host, port, b"POST /v1/datasets", body, b"application/json")
    with socket.create_connection((host, port), timeout=30) as connection:
        connection.sendall(
            b"PATCH /v1/datasets/" + dataset_id + b"/content HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: application/octet-stream\r\nUpload-Offset: 0\r\n"
            b"Content-Length: 1000\r\n\r\n" + bytes(600)
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")
    with installation.database.read() as session:
        assert catalogue.get(session, dataset_id.decode(), LOCAL).received == 600


def test_a_server_takes_so_many_uploads_and_no_more(client: TestClient, assert_problem) -> None:
    content = archive()
    dataset_id = create(client, len(content))["id"]
    places = client.app.state.runtime.uploads
    with ExitStack() as taken:
        for _ in range(runtime.UPLOADS_OF_OWNER):
            taken.enter_context(places.taken_by("anna"))
        with pytest.raises(UnavailableError, match="as many uploads of anna as it can"):
            taken.enter_context(places.taken_by("anna"))
        for _ in range(runtime.UPLOADS - runtime.UPLOADS_OF_OWNER):
            taken.enter_context(places.taken_by("bert"))
        refused = send(client, dataset_id, 0, content)
        assert_problem(refused, 503, "unavailable")
        assert refused.headers["retry-after"] == "5"
    assert send(client, dataset_id, 0, content).status_code == 204
