"""Which requests are sent again, and how refusals read."""

from typing import Any

import pytest

from mdf.client import Client
from mdf.errors import ApiError, MDFError, ProtocolError, UnreachableError

ME = {"owner": "local", "scopes": ["read", "write", "admin"], "key_id": None}
IMAGE = {
    "id": "img_1",
    "name": "a.png",
    "digest": "00",
    "width": 32,
    "height": 32,
    "size": 9,
    "created": "2026-01-02T03:04:05Z",
    "source": {},
}


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_read_is_repeated_when_the_server_is_busy(server: Any, status: int) -> None:
    server.reply(status)
    server.reply_json(200, ME)
    assert Client(server.url).me().owner == "local"
    assert len(server.asked) == 2


def test_a_read_is_repeated_when_the_connection_breaks(server: Any) -> None:
    server.hang_up()
    server.break_off(200, b'{"own', length=100)
    server.reply_json(200, ME)
    assert Client(server.url).me().scopes == ("read", "write", "admin")


def test_a_creation_is_repeated_under_the_same_idempotency_key_and_body(server: Any) -> None:
    server.hang_up()
    server.reply(503)
    server.reply_json(201, IMAGE)
    assert Client(server.url).images.upload(b"pixels", name="a.png").id == "img_1"
    assert len(server.asked) == 3
    assert len({asked.headers["Idempotency-Key"] for asked in server.asked}) == 1
    assert len({asked.body for asked in server.asked}) == 1
    assert b"pixels" in server.asked[-1].body


def test_two_creations_have_two_idempotency_keys(server: Any) -> None:
    server.reply_json(201, IMAGE)
    client = Client(server.url)
    client.images.upload(b"pixels")
    client.images.upload(b"pixels")
    assert len({asked.headers["Idempotency-Key"] for asked in server.asked}) == 2


def test_an_action_is_sent_once(server: Any) -> None:
    server.hang_up()
    with pytest.raises(UnreachableError, match="no answer from the server at http://127"):
        Client(server.url).jobs.cancel("job_1")
    assert len(server.asked) == 1


def test_a_busy_server_is_given_up_after_the_last_attempt(server: Any) -> None:
    server.reply_json(503, {"code": "disk_full", "detail": "too full", "request_id": "r1"})
    with pytest.raises(ApiError, match="too full") as refusal:
        Client(server.url, retries=2).me()
    assert len(server.asked) == 3
    assert (refusal.value.status, refusal.value.request_id) == (503, "r1")


def test_retry_after_is_waited_for(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    server.reply(429, Retry_After="7")
    server.reply(503, Retry_After="100000")
    server.reply_json(200, ME)
    Client(server.url).me()
    assert waits == [7.0, 30.0]


def test_an_action_that_came_too_soon_is_sent_again(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    server.reply_json(429, {"code": "rate_limited", "detail": "too many"}, Retry_After="3")
    server.reply_json(200, {})
    Client(server.url).keys.revoke("key_1")
    assert (waits, len(server.asked)) == ([3.0], 2)


@pytest.mark.parametrize("code", ["quota_exceeded", "queue_full"])
def test_a_quota_that_is_used_up_is_not_waited_for(server: Any, code: str) -> None:
    server.reply_json(429, {"code": code, "detail": "too much"}, Retry_After="60")
    with pytest.raises(ApiError, match="too much") as refusal:
        Client(server.url).images.upload(b"pixels")
    assert (refusal.value.code, len(server.asked)) == (code, 1)


def test_a_refusal_names_every_fault(server: Any) -> None:
    server.reply_json(
        422,
        {
            "type": "about:blank",
            "title": "Unprocessable Content",
            "status": 422,
            "code": "bad_input",
            "detail": "the request has 2 faults",
            "errors": [
                {"pointer": "/task/quality", "detail": "must be from 1 to 100; it is 0"},
                {"pointer": "/recipe/tapps", "detail": "unknown"},
            ],
        },
    )
    with pytest.raises(ApiError) as refusal:
        Client(server.url).train(
            "img_" + 32 * "0", {"kind": "jpeg", "quality": 0}, recipe={"tapps": 1}
        )
    assert str(refusal.value) == (
        "the request has 2 faults (task.quality: must be from 1 to 100; it is 0; "
        "recipe.tapps: unknown)"
    )
    assert refusal.value.code == "bad_input"
    assert refusal.value.errors[0].pointer == "/task/quality"


def test_a_fault_that_repeats_the_detail_is_told_once(server: Any) -> None:
    content = {"detail": "too small", "errors": [{"pointer": "/seeds", "detail": "too small"}]}
    server.reply_json(400, content)
    with pytest.raises(ApiError, match=r"^too small$"):
        Client(server.url).me()


def test_a_refusal_that_is_not_of_the_service_is_still_an_api_error(server: Any) -> None:
    server.reply(404, b"<html>", Content_Type="text/html")
    with pytest.raises(ApiError, match=r"404 Not Found for http://127.*/v1/me") as refusal:
        Client(server.url).me()
    assert refusal.value.code == "unknown"


def test_another_server_is_recognised(server: Any) -> None:
    server.reply(200, b"<html>hello</html>", Content_Type="text/html")
    with pytest.raises(ProtocolError, match="is this the address of an MDF server"):
        Client(server.url).me()
    with pytest.raises(ProtocolError, match="is this the address of an MDF server"):
        Client(server.url).jobs.list()


def test_no_server_is_told_with_its_address() -> None:
    with pytest.raises(UnreachableError, match=r"at http://127\.0\.0\.1:9: "):
        Client("http://127.0.0.1:9", retries=0).me()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "8000"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(MDFError, match="must look like http://host:8000"):
        Client(url)


def test_address_and_key_come_from_the_environment(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDF_URL", server.url + "/")
    monkeypatch.setenv("MDF_API_KEY", "mdf_secret")
    server.reply_json(200, ME)
    with Client() as client:
        client.me()
    assert client.url == server.url
    assert server.asked[0].headers["Authorization"] == "Bearer mdf_secret"


def test_a_server_behind_a_path_is_reached(server: Any) -> None:
    server.reply_json(200, ME)
    Client(f"{server.url}/mdf").me()
    assert server.asked[0].path == "/mdf/v1/me"


def test_a_proxy_of_the_environment_is_not_asked_for_the_loopback(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.reply_json(200, ME)
    assert Client(server.url).me().owner == "local"
