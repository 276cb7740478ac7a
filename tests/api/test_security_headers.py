"""What every answer tells browsers, and the page that is made for them."""

import re
from base64 import b64encode
from hashlib import sha256

import httpx
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from services.installation import Installation
from services.losses import catalogue

PRIVATE = "default-src 'none'; frame-ancestors 'none'; sandbox"
ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


def check(answer: httpx.Response) -> None:
    for name, value in ALWAYS.items():
        assert answer.headers[name] == value, answer.url
    assert len(answer.headers.get_list("x-content-type-options")) == 1
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/docs", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/metrics", 200),
        ("GET", "/v1/images", 200),
        ("GET", "/v1/images/img_0", 404),
        ("GET", "/nowhere", 404),
        ("GET", "/a%00b", 404),
        ("PUT", "/v1/images", 405),
        ("POST", "/v1/jobs", 415),
        ("OPTIONS", "/v1/images", 405),
    ],
)
def test_every_answer_has_them(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    check(answer)
    if path != "/docs":
        assert answer.headers["content-security-policy"] == PRIVATE
    assert answer.headers["cache-control"] == "no-store"


def test_refusals_at_the_door_and_failures_have_them(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = client.get("/v1/images", headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    check(foreign)

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(catalogue, "list_losses", fail)
    broken = client.get("/v1/losses")
    assert broken.status_code == 500
    check(broken)


def test_a_users_file_is_nothing_that_a_browser_runs(client: TestClient, image_id: str) -> None:
    for method in ("GET", "HEAD"):
        answer = client.request(method, f"/v1/images/{image_id}/content")
        check(answer)
        assert answer.headers["content-security-policy"] == PRIVATE
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["cache-control"].startswith("private")
    again = client.get(
        f"/v1/images/{image_id}/content", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert again.status_code == 304
    check(again)


def test_only_tls_is_said_to_last(installation: Installation, client: TestClient) -> None:
    assert "strict-transport-security" not in client.get("/healthz").headers
    with TestClient(create_app(installation), base_url="https://mdf.example") as browser:
        said = browser.get("/healthz").headers["strict-transport-security"]
        assert said == "max-age=31536000"


def test_the_reference_shows_every_operation_and_schema_without_a_script(
    client: TestClient,
) -> None:
    answer = client.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = answer.text
    document = client.get("/openapi.json").json()
    anchors = set(re.findall(r'id="([^"]+)"', page))
    for path, methods in document["paths"].items():
        assert f"<code>{path}</code>" in page
        assert {operation["operationId"] for operation in methods.values()} <= anchors
    assert set(document["components"]["schemas"]) <= anchors
    assert set(re.findall(r'href="#([^"]+)"', page)) <= anchors, "links that lead nowhere"
    assert set(re.findall(r'href="([^#"][^"]*)"', page)) == {"/openapi.json"}
    assert not re.search(
        r"<(script|link|img|iframe|object|form)|\son[a-z]+=|javascript:|url\(", page
    )
    assert "src=" not in page


def test_the_references_policy_allows_its_own_style_and_nothing_else(client: TestClient) -> None:
    answer = client.get("/docs")
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert answer.headers["content-security-policy"] == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"style-src 'sha256-{digest}'"
    )
    assert " style=" not in answer.text
