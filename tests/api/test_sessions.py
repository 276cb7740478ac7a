"""Browser sessions over HTTP: the cookie, and what pages of other origins cannot do with it."""

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.cookies import Morsel, SimpleCookie

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from api import event_feeds
from api.app import create_app
from api.server import Server
from services.database.schema import BrowserSession, now
from services.installation import Installation
from tests.waiting import PATIENCE_SECONDS, wait_until

Keys = Callable[..., dict[str, str]]
OWN = {"Origin": "http://127.0.0.1:8000"}
FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "http://127.0.0.1:3000"},
    {"Origin": "https://127.0.0.1:8000"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
]


def token_of(headers: dict[str, str]) -> str:
    return headers["Authorization"].removeprefix("Bearer ")


def cookie_of(answer: httpx.Response) -> Morsel[str]:
    (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
    return cookie


def log_in(client: TestClient, key: dict[str, str], **headers: str) -> httpx.Response:
    return client.post("/v1/session", json={"api_key": token_of(key)}, headers=headers)


@pytest.fixture
def anna(make_key: Keys) -> dict[str, str]:
    return make_key("admin")


def test_a_browser_logs_in_is_known_and_logs_out(
    client: TestClient, anna: dict[str, str], assert_problem
) -> None:
    assert_problem(client.get("/v1/me"), 401, "unauthenticated")
    answer = log_in(client, anna, **OWN)
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert (shown["owner"], shown["scopes"]) == ("anna", ["admin"])
    assert token_of(anna) not in answer.text
    assert client.get("/v1/me").json()["owner"] == "anna"
    assert client.get("/v1/session").json() == shown
    ended = client.delete("/v1/session", headers=OWN)
    assert ended.status_code == 204
    assert cookie_of(ended).value == ""
    assert cookie_of(ended)["max-age"] == "0"
    assert ended.headers["clear-site-data"] == '"cache"'
    client.cookies.set("mdf_session", cookie_of(answer).value)
    assert_problem(client.get("/v1/me"), 401, "unauthenticated")


def test_the_cookie_is_out_of_reach(client: TestClient, anna: dict[str, str]) -> None:
    cookie = cookie_of(log_in(client, anna))
    assert cookie.key == "mdf_session"
    assert len(cookie.value) == 43
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "strict", "/")
    assert (cookie["secure"], cookie["domain"]) == ("", "")
    assert cookie["expires"].endswith("GMT")


def test_under_tls_the_cookie_is_the_hosts_own(
    installation: Installation, anna: dict[str, str]
) -> None:
    with TestClient(create_app(installation), base_url="https://mdf.example") as browser:
        cookie = cookie_of(log_in(browser, anna, Origin="https://mdf.example"))
        assert cookie.key == "__Host-mdf_session"
        assert cookie["secure"] is True
        assert browser.get("/v1/me").json()["owner"] == "anna"
        # One that a page had set without TLS, or from a neighbouring name, is none here.
        browser.cookies.clear()
        browser.cookies.set("mdf_session", cookie.value)
        assert browser.get("/v1/me").status_code == 401


@pytest.mark.parametrize(
    ("proxy", "name"), [("127.0.0.0/8", "__Host-mdf_session"), ("10.0.0.1", "mdf_session")]
)
def test_a_trusted_proxy_tells_of_tls(
    serve_with: Callable[..., str], anna: dict[str, str], proxy: str, name: str
) -> None:
    url = serve_with(trusted_proxies=proxy)
    answer = httpx.post(
        f"{url}/v1/session",
        json={"api_key": token_of(anna)},
        headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"},
    )
    assert cookie_of(answer).key == name
    assert ("strict-transport-security" in answer.headers) == name.startswith("__Host-")


@pytest.mark.parametrize("headers", FOREIGN)
def test_pages_of_other_origins_can_do_nothing_with_the_cookie(
    client: TestClient, anna: dict[str, str], assert_problem, headers: dict[str, str]
) -> None:
    log_in(client, anna)
    wanted = {"name": "x", "source": {"kind": "upload", "size": 9}}
    assert_problem(client.post("/v1/datasets", json=wanted, headers=headers), 403, "forbidden")
    assert_problem(client.delete("/v1/session", headers=headers), 403, "forbidden")
    assert_problem(client.get("/v1/images", headers=headers), 403, "forbidden")
    assert client.get("/v1/datasets").json()["data"] == []


@pytest.mark.parametrize("headers", FOREIGN)
def test_pages_of_other_origins_cannot_log_a_browser_in(
    client: TestClient, anna: dict[str, str], assert_problem, headers: dict[str, str]
) -> None:
    answer = log_in(client, anna, **headers)
    assert_problem(answer, 403, "forbidden")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [OWN, {"Sec-Fetch-Site": "same-origin"}, OWN | {"Sec-Fetch-Site": "same-origin"}],
)
def test_pages_of_this_origin_may_do_all(
    client: TestClient, anna: dict[str, str], headers: dict[str, str]
) -> None:
    log_in(client, anna)
    wanted = {"name": "x", "source": {"kind": "upload", "size": 9}}
    assert client.post("/v1/datasets", json=wanted, headers=headers).status_code == 201


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "none"}])
def test_what_changes_something_needs_more_than_the_cookie(
    client: TestClient, anna: dict[str, str], assert_problem, headers: dict[str, str]
) -> None:
    log_in(client, anna)
    wanted = {"name": "x", "source": {"kind": "upload", "size": 9}}
    problem = assert_problem(
        client.post("/v1/datasets", json=wanted, headers=headers), 403, "forbidden"
    )
    assert "Sec-Fetch-Site" in problem["detail"]
    assert client.get("/v1/datasets", headers=headers).status_code == 200


def test_a_key_beside_the_cookie_decides(client: TestClient, anna, make_key: Keys) -> None:
    log_in(client, anna)
    bert = make_key("write", owner="bert")
    assert client.get("/v1/me", headers=bert).json()["owner"] == "bert"
    wanted = {"name": "x", "source": {"kind": "upload", "size": 9}}
    foreign = bert | {"Origin": "https://evil.example"}  # browsers add no key by themselves
    assert client.post("/v1/datasets", json=wanted, headers=foreign).status_code == 201
    wrong = {"Authorization": "Bearer mdf_x"}
    assert client.get("/v1/me", headers=wrong).status_code == 401


def test_wrong_keys_and_other_bodies_log_nobody_in(
    client: TestClient, anna: dict[str, str], assert_problem
) -> None:
    for wrong in ("mdf_x", token_of(anna)[:-1] + "!", f"mdf_{'0' * 32}_{'A' * 43}"):
        answer = client.post("/v1/session", json={"api_key": wrong})
        assert_problem(answer, 401, "unauthenticated")
        assert "set-cookie" not in answer.headers
    form = client.post("/v1/session", data={"api_key": token_of(anna)})
    assert_problem(form, 415, "unsupported_media_type")
    text = client.post("/v1/session", content=b"{}", headers={"Content-Type": "text/plain"})
    assert_problem(text, 415, "unsupported_media_type")
    long = client.post("/v1/session", json={"api_key": "x" * 2000})
    assert_problem(long, 413, "too_large")


def test_without_keys_nobody_logs_in_and_a_stale_cookie_hinders_nobody(
    client: TestClient, assert_problem
) -> None:
    answer = client.post("/v1/session", json={"api_key": f"mdf_{'0' * 32}_{'A' * 43}"})
    assert_problem(answer, 401, "unauthenticated")
    client.cookies.set("mdf_session", "A" * 43)
    assert client.get("/v1/me").json()["owner"] == "local"
    assert_problem(client.get("/v1/session"), 404, "not_found")


def test_a_session_ends_with_its_key_and_in_time(
    client: TestClient, installation: Installation, anna, make_key: Keys, assert_problem
) -> None:
    bert = make_key("read", owner="bert")
    log_in(client, bert)
    assert client.get("/v1/me").json()["owner"] == "bert"
    key_id = client.get("/v1/me").json()["key_id"]
    assert client.delete(f"/v1/api-keys/{key_id}", headers=anna).status_code < 300
    assert_problem(client.get("/v1/me"), 401, "unauthenticated")
    log_in(client, anna)
    assert client.get("/v1/me").json()["owner"] == "anna"
    with installation.database.write() as session:
        session.execute(update(BrowserSession).values(expires=now()))
    assert_problem(client.get("/v1/me"), 401, "unauthenticated")


@pytest.mark.parametrize("end", ["log out", "revoke", "expire"])
def test_a_stream_ends_with_its_session(
    live,
    installation: Installation,
    job_id: str,
    make_key: Keys,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    monkeypatch.setattr(event_feeds, "_PING_SECONDS", math.inf)  # which would hide that none ends
    root = make_key("admin", owner="root")
    key = make_key("read", owner="local")
    own = {"Origin": live.url}
    with httpx.Client(base_url=live.url, timeout=60) as browser:
        browser.post("/v1/session", json={"api_key": token_of(key)}, headers=own)
        key_id = browser.get("/v1/session").json()["key_id"]
        began = threading.Event()
        ended = threading.Event()

        def follow() -> None:
            accept = {"Accept": "text/event-stream"}
            with browser.stream("GET", f"/v1/jobs/{job_id}/events", headers=accept) as stream:
                for _ in stream.iter_lines():
                    began.set()
            ended.set()

        listener = threading.Thread(target=follow)
        listener.start()
        assert began.wait(PATIENCE_SECONDS)
        match end:
            case "log out":
                httpx.delete(
                    f"{live.url}/v1/session", headers=own, cookies=dict(browser.cookies)
                ).raise_for_status()
            case "revoke":
                httpx.delete(f"{live.url}/v1/api-keys/{key_id}", headers=root).raise_for_status()
            case "expire":
                with installation.database.write() as session:
                    session.execute(update(BrowserSession).values(expires=now()))
        listener.join(timeout=PATIENCE_SECONDS)
        assert ended.is_set(), "the stream goes on"


@pytest.fixture
def serve_with(installation: Installation) -> Iterator[Callable[..., str]]:
    """Serve with other settings; gives the address."""
    running: list[tuple[Server, threading.Thread]] = []

    def start(**changes: object) -> str:
        settings = installation.settings.model_copy(update={"port": 0, **changes})
        server = Server(replace(installation, settings=settings))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        wait_until(lambda: server.started or not thread.is_alive())
        assert server.started
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(timeout=PATIENCE_SECONDS)
