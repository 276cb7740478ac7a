"""Access: loopback without keys, scopes with them."""

import socket
from collections.abc import Callable, Iterator

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from api.app import create_app
from services import keys
from services.datasets.uploads import PART_BYTES
from services.exposure import is_loopback
from services.installation import Installation
from tests.waiting import PATIENCE_SECONDS, wait_until

Keys = Callable[..., dict[str, str]]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("api.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("[::1]", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("192.168.0.2", False),
        ("localhost.evil.example", False),
        ("notlocalhost", False),
        ("127.0.0.1.nip.io", False),
        ("", False),
    ],
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8000"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_without_keys_foreign_web_pages_are_refused(
    client: TestClient, assert_problem, headers: dict[str, str]
) -> None:
    assert_problem(client.get("/v1/images", headers=headers), 403, "forbidden")
    assert_problem(client.post("/v1/jobs", json={}, headers=headers), 403, "forbidden")
    assert_problem(client.get("/metrics", headers=headers), 403, "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost"},
        {"Host": "[::1]:8000"},
        {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_without_keys_this_machine_is_let_in(client: TestClient, headers: dict[str, str]) -> None:
    me = client.get("/v1/me", headers=headers).json()
    assert (me["owner"], me["key_id"]) == ("local", None)
    assert me["scopes"] == ["read", "write", "admin"]


def test_without_keys_another_machine_is_refused(
    installation: Installation, assert_problem
) -> None:
    app = create_app(installation)
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("192.168.0.7", 50000)) as remote:
        answer = remote.get("/v1/images")
        assert_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert remote.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "name", ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP"]
)
def test_without_keys_what_a_proxy_passes_on_is_refused(
    client: TestClient, assert_problem, name: str
) -> None:
    answer = client.get("/v1/images", headers={name: "127.0.0.1"})
    assert_problem(answer, 401, "unauthenticated")


def test_with_a_key_in_force_everybody_needs_one(
    client: TestClient, make_key: Keys, assert_problem
) -> None:
    admin = make_key("admin")
    for headers in (
        {},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer mdf_x_y"},
    ):
        assert_problem(client.get("/v1/images", headers=headers), 401, "unauthenticated")
    assert_problem(client.get("/metrics"), 401, "unauthenticated")
    assert client.get("/healthz").status_code == 200
    assert client.get("/v1/images", headers=admin | {"Host": "mdf.example"}).status_code == 200


def test_a_body_is_not_read_before_its_sender_is_known(live, make_key: Keys) -> None:
    make_key("admin")
    address = ("127.0.0.1", int(live.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(
            b"POST /v1/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")


def test_scopes_are_kept(client: TestClient, image_id: str, make_key: Keys, assert_problem) -> None:
    admin = make_key("admin", owner="local")
    reader = make_key("read", owner="local")
    writer = make_key("write", owner="local")
    url = f"/v1/images/{image_id}"
    for headers in (reader, writer, admin):
        assert client.get(url, headers=headers).status_code == 200
    problem = assert_problem(client.delete(url, headers=reader), 403, "forbidden")
    assert "scope write" in problem["detail"]
    for headers in (reader, writer):
        assert_problem(client.get("/v1/api-keys", headers=headers), 403, "forbidden")
    assert client.get("/v1/me", headers=writer).json()["scopes"] == ["write"]
    assert client.delete(url, headers=writer).status_code == 200


def test_a_replay_needs_the_scope_too(
    client: TestClient, image_id: str, make_key: Keys, assert_problem
) -> None:
    wanted = {"seed_image_ids": [image_id], "task": {"kind": "sisr"}, "preset": "quick"}
    key = {"Idempotency-Key": "k"}
    assert client.post("/v1/jobs", json=wanted, headers=key).status_code == 202
    make_key("admin")
    reader = make_key("read", owner="local")
    assert_problem(client.post("/v1/jobs", json=wanted, headers=key | reader), 403, "forbidden")


def test_keys_are_made_listed_and_revoked(client: TestClient, assert_problem) -> None:
    problem = client.post("/v1/api-keys", json={"name": "x", "scopes": ["read"]})
    assert (
        "the first key must have the scope admin"
        in assert_problem(problem, 409, "conflict")["detail"]
    )
    made = client.post("/v1/api-keys", json={"name": "root", "scopes": ["admin", "read"]})
    assert made.status_code == 201
    key = made.json()
    secret = key.pop("secret")
    assert (key["name"], key["owner"], key["scopes"]) == ("root", "local", ["read", "admin"])
    assert_problem(client.get("/v1/api-keys"), 401, "unauthenticated")
    root = {"Authorization": f"Bearer {secret}"}
    listed = client.get("/v1/api-keys", headers=root)
    assert secret not in listed.text
    (shown,) = listed.json()["data"]
    assert shown["last_used"] is not None
    assert shown | {"last_used": None} == key
    wanted = {"name": "bert's", "owner": "bert", "scopes": ["write"]}
    other = client.post("/v1/api-keys", json=wanted, headers=root).json()
    bert = {"Authorization": f"Bearer {other['secret']}"}
    assert client.get("/v1/me", headers=bert).json()["owner"] == "bert"
    assert_problem(client.delete(f"/v1/api-keys/{key['id']}", headers=root), 409, "conflict")
    assert client.delete(f"/v1/api-keys/{other['id']}", headers=root).status_code == 204
    assert_problem(client.get("/v1/me", headers=bert), 401, "unauthenticated")
    kept = client.get(f"/v1/api-keys/{other['id']}", headers=root).json()
    assert kept["revoked"] is not None
    for change in ({}, {"name": "new"}, {"quotas": {"queued_jobs": 5}}):
        late = client.patch(f"/v1/api-keys/{other['id']}", json=change, headers=root)
        assert "has been revoked" in assert_problem(late, 409, "conflict")["detail"]
    assert client.get(f"/v1/api-keys/{other['id']}", headers=root).json() == kept
    assert client.delete(f"/v1/api-keys/{key['id']}", headers=root).status_code == 204
    assert client.get("/v1/me").json()["owner"] == "local"


def test_a_keys_secret_is_told_once(client: TestClient, installation: Installation) -> None:
    wanted = {"name": "root", "scopes": ["admin"]}
    headers = {"Idempotency-Key": "once"}
    first = client.post("/v1/api-keys", json=wanted, headers=headers).json()
    bearer = {"Authorization": f"Bearer {first['secret']}"}
    again = client.post("/v1/api-keys", json=wanted, headers=headers | bearer)
    assert again.json() == first | {"secret": None}
    assert again.headers["idempotency-replayed"] == "true"
    home = installation.settings.home_folder
    kept = b"".join(path.read_bytes() for path in home.glob("mdf.sqlite*"))
    assert first["secret"].split("_", 2)[2].encode() not in kept  # a secret may have one, too


@pytest.mark.parametrize(
    "wanted",
    [
        {"name": "", "scopes": ["admin"]},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "scopes": ["admin"], "owner": "a b"},
        {"name": "x", "scopes": ["admin"], "secret": "mine"},
        {"scopes": ["admin"]},
    ],
)
def test_a_bad_key_is_refused(client: TestClient, assert_problem, wanted: object) -> None:
    assert_problem(client.post("/v1/api-keys", json=wanted), 422, "bad_input")


def test_secrets_never_reach_the_log(client: TestClient, make_key: Keys, caplog) -> None:
    caplog.set_level("DEBUG")
    headers = make_key("admin")
    client.get("/v1/images?cursor=x&token=hidden", headers=headers)
    made = client.post("/v1/api-keys", json={"name": "x", "scopes": ["read"]}, headers=headers)
    ours = "\n".join(
        record.getMessage() for record in caplog.records if not record.name.startswith("http")
    )
    assert "/v1/api-keys" in ours
    for secret in (headers["Authorization"].split("_", 2)[2], made.json()["secret"], "hidden"):
        assert secret not in ours


@pytest.mark.parametrize(
    "fault",
    [
        OperationalError("SELECT", {}, Exception("database is locked")),
        PoolTimeoutError("QueuePool limit reached"),
    ],
)
def test_a_database_that_is_busy_at_the_door_is_told(
    client: TestClient, assert_problem, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: object) -> None:
        raise fault

    for headers, name in (({}, "required"), ({"Authorization": "Bearer x"}, "authenticate")):
        monkeypatch.setattr(keys, name, fail)
        answer = client.get("/v1/jobs", headers=headers)
        assert_problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "2"


def test_an_upload_under_way_ends_when_its_key_is_revoked(
    live, installation: Installation, make_key: Keys
) -> None:
    root, bert = make_key("admin"), make_key("write", owner="bert")
    size = 3 * PART_BYTES
    with httpx.Client(base_url=live.url, headers=bert, timeout=PATIENCE_SECONDS) as sender:
        key_id = sender.get("/v1/me").json()["key_id"]
        wanted = {"name": "x", "source": {"kind": "upload", "size": size}}
        path = f"/v1/datasets/{sender.post('/v1/datasets', json=wanted).json()['id']}"

        def parts() -> Iterator[bytes]:
            yield bytes(PART_BYTES + 1)
            wait_until(received)
            httpx.delete(f"{live.url}/v1/api-keys/{key_id}", headers=root).raise_for_status()
            yield bytes(2 * PART_BYTES - 1)

        def received() -> int:
            return int(httpx.get(f"{live.url}{path}", headers=root).json()["received"])

        headers = {"Content-Type": "application/octet-stream", "Upload-Offset": "0"}
        answer = sender.patch(f"{path}/content", content=parts(), headers=headers)
        assert answer.status_code == 401, answer.text
        assert received() == PART_BYTES
