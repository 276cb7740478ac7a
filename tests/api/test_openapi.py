"""The OpenAPI document, where it says more than FastAPI knows."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api import openapi


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/openapi.json").json()
    return answer


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_it_is_made_once_however_often_it_is_asked_for(
    client: TestClient, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(openapi, "without_keys")
    assert client.get("/openapi.json").json() == document


def test_it_says_whether_callers_need_a_key(
    client: TestClient, document: dict[str, Any], make_key: Callable[..., dict[str, str]]
) -> None:
    open_to_all = {name for name, each in operations(document) if {} in each.get("security", ())}
    assert "GET /v1/images" in open_to_all
    make_key("admin")
    needing = client.get("/openapi.json").json()
    assert not [name for name, each in operations(needing) if {} in each.get("security", ())]
    assert {name for name, each in operations(needing) if "security" in each} == open_to_all


def test_every_guarded_route_tells_of_keys_limits_and_outages(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if "security" in operation:
            assert {"401", "403", "429", "503"} <= operation["responses"].keys(), name
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= operation["responses"].keys(), name


def test_every_refusal_is_a_problem(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if status >= "400" and name != "GET /readyz":
                assert response["content"].keys() == {"application/problem+json"}, (name, status)


def test_a_request_that_creates_says_where(document: dict[str, Any]) -> None:
    creating = document["paths"]["/v1/jobs"]["post"]["responses"]["202"]
    assert creating["headers"].keys() == {"Location", "Idempotency-Replayed"}


def test_no_parameter_is_null(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            assert {"type": "null"} not in parameter["schema"].get("anyOf", ()), name


def test_fields_that_tell_objects_apart_are_required(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert "kind" in schemas["Upload"]["required"]
    assert "type" in schemas["RestorationIn"]["required"]
    assert "type" not in schemas["DiscriminatorTrainingIn"]["required"]


def test_forms_have_no_other_fields_and_no_empty_files(document: dict[str, Any]) -> None:
    form = document["components"]["schemas"]["Body_upload_image"]
    assert form["additionalProperties"] is False
    assert form["properties"]["file"]["minLength"] == 1


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/images", "GET, POST"),
        ("/v1/images/synthesize", "POST"),
        ("/v1/images/img_1", "DELETE, GET"),
        ("/v1/images/img_1/content", "GET, HEAD"),
        ("/v1/jobs/job_1", "DELETE, GET, PATCH"),
        ("/healthz", "GET"),
    ],
)
def test_a_method_that_is_not_there_is_told_all_that_are(
    client: TestClient, path: str, methods: str
) -> None:
    answer = client.options(path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == methods
