"""Refusals: problem+json for everything, and no request that breaks the service."""

import json
import logging

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from api import errors
from api.bodies import MAX_JSON_DEPTH, MAX_JSON_VALUES, parse_json
from services.errors import ServiceError
from services.images import catalogue


def every_error(kind: type[ServiceError]) -> set[type[ServiceError]]:
    return {kind}.union(*(every_error(each) for each in kind.__subclasses__()))


def test_every_error_of_the_services_has_a_status() -> None:
    known = {kind for kind in every_error(ServiceError) if kind.__module__ == "services.errors"}
    in_jobs_only = {"diverged"}
    assert {kind.code for kind in known} - in_jobs_only <= errors.STATUSES.keys()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/", 404, "not_found"),
        ("POST", "/runs", 404, "not_found"),
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/jobs/job_%00", 404, "not_found"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/jobs/", 404, "not_found"),
        ("GET", "/v1/jobs/job_0/nothing", 404, "not_found"),
        ("PUT", "/v1/jobs", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
        ("POST", "/v1/jobs/job_0", 405, "method_not_allowed"),
        ("BREW", "/v1/images", 405, "method_not_allowed"),
    ],
)
def test_paths_and_methods_that_are_not_there(
    client: TestClient, assert_problem, method: str, path: str, status: int, code: str
) -> None:
    assert_problem(client.request(method, path), status, code)


BAD_JSON = {
    "nothing": (b"", 422, "bad_input"),
    "no JSON": (b"{", 400, "bad_request"),
    "two": (b"{} {}", 400, "bad_request"),
    "NaN": (b'{"priority": NaN}', 400, "bad_request"),
    "Infinity": (b'{"priority": -Infinity}', 400, "bad_request"),
    "1e999": (b'{"priority": 1e999}', 400, "bad_request"),
    "endless integer": (b'{"priority": ' + b"9" * 5000 + b"}", 400, "bad_request"),
    "too many values": (b"[" + b"1," * 20_000 + b"1]", 400, "bad_request"),
    "too many fields": (
        json.dumps({str(place): place for place in range(6000)}).encode(),
        *(400, "bad_request"),
    ),
    "too many empty lists": (b"[" + b"[]," * 9000 + b"1]", 400, "bad_request"),
    "a name without end": (b'{"' + b"x" * 201 + b'": 1}', 400, "bad_request"),
    "an integer that no float holds": (b"1" * 310, 400, "bad_request"),
    "a name twice": (b'{"task": {"kind": "sisr", "kind": "jpeg"}}', 400, "bad_request"),
    "deep": (b"[" * 100_000, 400, "bad_request"),
    "deep and closed": (b"[" * 100_000 + b"]" * 100_000, 400, "bad_request"),
    "wrong UTF-8": (b'{"name": "\xff"}', 400, "bad_request"),
    "UTF-16": ('{"name": "x"}'.encode("utf-16"), 400, "bad_request"),
    "half a character": (b'{"name": "\\ud800"}', 400, "bad_request"),
    "half a character as key": (b'{"\\udc00": 1}', 400, "bad_request"),
    "NUL": (b'{"seed_image_ids": ["img_\\u0000"]}', 400, "bad_request"),
    "NUL after a backslash": (b'{"name": "\\\\\\u0000"}', 400, "bad_request"),
    "a list": (b"[1, 2]", 422, "bad_input"),
    "a number": (b"5", 422, "bad_input"),
    "null": (b"null", 422, "bad_input"),
    "too large": (b'{"name": "' + b"x" * (1 << 20) + b'"}', 413, "too_large"),
}


@pytest.mark.parametrize("kind", BAD_JSON)
def test_bodies_that_are_no_json_object(client: TestClient, assert_problem, kind: str) -> None:
    content, status, code = BAD_JSON[kind]
    headers = {"Content-Type": "application/json"}
    assert_problem(client.post("/v1/jobs", content=content, headers=headers), status, code)


def test_the_name_of_the_nul_character_is_no_nul() -> None:
    assert parse_json(rb'{"name": "\\u0000"}') == {"name": "\\u0000"}


def test_json_is_taken_up_to_its_limits() -> None:
    values = [1] * (MAX_JSON_VALUES - 1)
    assert parse_json(json.dumps(values).encode()) == values
    signs_in_text = {"name": '",:[{\\' * MAX_JSON_VALUES}
    assert parse_json(json.dumps(signs_in_text).encode()) == signs_in_text
    for begin, end in (("[", "]"), ('{"a":', "}")):
        deep = begin * MAX_JSON_DEPTH + "1" + end * MAX_JSON_DEPTH
        assert json.dumps(parse_json(deep.encode())).replace(" ", "") == deep
        with pytest.raises(HTTPException, match="at most 64 levels"):
            parse_json((begin + deep + end).encode())
    with pytest.raises(HTTPException, match="at most 10000 values"):
        parse_json(json.dumps([*values, 1]).encode())


def test_what_is_too_much_is_not_even_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "loads", pytest.fail)
    for each in (b"1,", b"1.5,", b"[],", b'{"a":1},', b'"a,",', rb'"\"",', b"[", b'{"":'):
        with pytest.raises(HTTPException, match="holds too much"):
            parse_json(b"[" + each * 200_000)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/datasets", "/v1/webhooks"])
@pytest.mark.parametrize("depth", [65, 320, 950])
def test_deep_json_has_no_digest(client: TestClient, assert_problem, path: str, depth: int) -> None:
    deep = '{"name": ' + "[" * depth + "]" * depth + "}"
    headers = {"Content-Type": "application/json", "Idempotency-Key": "deep"}
    problem = assert_problem(client.post(path, content=deep, headers=headers), 400, "bad_request")
    assert "nested too deeply" in problem["detail"]


@pytest.mark.parametrize(
    ("body", "named", "unlisted"),
    [
        ({"seed_image_ids": [1] * 9000}, "seed_image_ids.0", 8902),
        ({str(place): 1 for place in range(4000)}, "is not a known field", 3902),
        ({"recipe": {str(place): 1 for place in range(150)}}, "recipe.0", 52),
    ],
)
def test_of_many_faults_a_hundred_are_told(
    client: TestClient, assert_problem, body: dict[str, object], named: str, unlisted: int
) -> None:
    answer = client.post("/v1/jobs", json=body)
    problem = assert_problem(answer, 422, "bad_input")
    assert len(problem["errors"]) == 100  # type: ignore[arg-type]
    assert named in answer.text
    assert problem["detail"].endswith(  # type: ignore[attr-defined]
        f"; and {97 + unlisted} more, of which {unlisted} are not listed"
    )
    assert len(answer.content) < 20_000


def test_all_of_few_faults_are_told(client: TestClient, assert_problem) -> None:
    body = {"seed_image_ids": [1] * 16}
    problem = assert_problem(client.post("/v1/jobs", json=body), 422, "bad_input")
    assert len(problem["errors"]) == 17  # type: ignore[arg-type]
    assert problem["detail"].endswith("; and 14 more")  # type: ignore[attr-defined]


def test_json_under_another_name_is_refused(client: TestClient, assert_problem) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
        answer = client.post("/v1/jobs", content=b"{}", headers={"Content-Type": media_type})
        problem = assert_problem(answer, 415, "unsupported_media_type")
        assert media_type in problem["detail"]
    assert_problem(client.post("/v1/jobs", content=b"{}"), 415, "unsupported_media_type")
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert_problem(client.post("/v1/jobs", content=b"{}", headers=headers), 422, "bad_input")


@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=12,
    )
    | st.fixed_dictionaries(
        {
            "seed_image_ids": st.lists(st.text(), max_size=3),
            "task": st.dictionaries(
                st.sampled_from(["kind", "sigma", "quality", "distortions"]),
                st.sampled_from(["jpeg", "denoising", "custom", 5, -1, [1, 2], [{}], None, 1e300]),
            ),
            "recipe": st.dictionaries(
                st.sampled_from(["factor", "scales", "width", "iterations", "crop", "taps"]),
                st.sampled_from([0, -1, 3, 1e300, "auto", None, [], {}, True, 2**70]),
            ),
            "preset": st.sampled_from(["quick", "paper", None, 3]),
        }
    )
)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150
)
def test_no_json_breaks_the_service(client: TestClient, body: object) -> None:
    text = json.dumps(body).replace("Infinity", "0")
    answer = client.post("/v1/jobs", content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), (text, answer.text)
    for fault in answer.json()["errors"]:
        assert fault["pointer"] == "" or fault["pointer"].startswith("/")


@pytest.mark.parametrize(
    ("changes", "pointer", "end"),
    [
        ({"priority": 101}, "/priority", "less than or equal to 100; it is 101"),
        ({"priority": "high"}, "/priority", '; it is "high"'),
        ({"preset": "fast"}, "/preset", "'quick'; it is \"fast\""),
        ({"preset": ["quick"]}, "/preset", "'quick'"),  # too long to be told, perhaps
        ({"preset": "x" * 61}, "/preset", "'quick'"),
        ({"task": {"kind": "denoising", "sigma": 300}}, "/task/sigma", "of them; it is 300"),
    ],
)
def test_what_was_given_is_named(
    client: TestClient, assert_problem, changes: dict[str, object], pointer: str, end: str
) -> None:
    body = {"type": "discriminator_training", "seed_image_ids": ["img_0"]}
    answer = client.post("/v1/jobs", json=body | {"task": {"kind": "sisr"}} | changes)
    (fault,) = assert_problem(answer, 422, "bad_input")["errors"]  # type: ignore[misc]
    assert fault["pointer"] == pointer
    assert fault["detail"].endswith(end)


def test_what_may_be_a_secret_is_not_repeated(client: TestClient, assert_problem) -> None:
    answer = client.post("/v1/webhooks", json={"url": "ftp://user:hidden@h/"})
    assert_problem(answer, 422, "bad_input")
    assert "hidden" not in answer.text
    answer = client.post("/v1/session", json="hidden")
    assert_problem(answer, 422, "bad_input")
    assert "hidden" not in answer.text


def test_what_a_parameter_was_given_is_named(client: TestClient, assert_problem) -> None:
    problem = assert_problem(client.get("/v1/jobs?limit=0"), 422, "bad_input")
    assert problem["detail"] == (
        'query parameter limit: input should be greater than or equal to 1; it is "0"'
    )


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(content: bytes) -> None:
    try:
        parsed = parse_json(content)
    except HTTPException as error:
        refused = error.status_code
    else:
        refused = None
        assert parsed == json.loads(content)
    assert refused in (None, 400)


def test_an_error_of_ours_is_logged_and_not_shown(
    client: TestClient, assert_problem, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("the secret of the house")

    monkeypatch.setattr(catalogue, "list_images", fail)
    answer = client.get("/v1/images?token=hidden", headers={"X-Request-ID": "my-request.1"})
    problem = assert_problem(answer, 500, "internal")
    assert problem["request_id"] == "my-request.1"
    assert "secret" not in answer.text
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "/v1/images" in record.getMessage()
    assert record.exc_info is not None
    assert "hidden" not in caplog.text


def test_a_database_that_is_away_is_no_error_of_ours(
    client: TestClient, assert_problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(reason: str) -> None:
        def away(*args: object, **kwargs: object) -> None:
            raise OperationalError("SELECT", {}, Exception(reason))

        monkeypatch.setattr(catalogue, "list_images", away)

    fail("database is locked")
    answer = client.get("/v1/images")
    assert_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "2"
    fail("database or disk is full")
    assert_problem(client.get("/v1/images"), 507, "disk_full")


@pytest.mark.parametrize("given_id", ["", "x" * 65, "a b", "é", "<script>"])
def test_a_request_id_that_would_spoil_the_log_is_replaced(
    client: TestClient, given_id: str
) -> None:
    headers = {"X-Request-ID": given_id.encode()}
    used = client.get("/healthz", headers=headers).headers["x-request-id"]
    assert used != given_id
    assert len(used) == 32


def test_every_answer_forbids_guessing_its_type(client: TestClient) -> None:
    for path in ("/healthz", "/nothing", "/v1/images"):
        assert client.get(path).headers["x-content-type-options"] == "nosniff"
