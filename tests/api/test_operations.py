"""Health, readiness, metrics, workers, and the OpenAPI document."""

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from api import readiness
from services.database.schema import Worker, now
from services.embedded.broker import EmbeddedRedis
from services.installation import Installation
from tests.clock import Clock


def test_the_service_is_ready_when_all_its_parts_are(
    client: TestClient, broker: EmbeddedRedis
) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "checks": {"database": "ok", "blobs": "ok", "broker": "ok"},
    }


def test_the_part_that_is_away_is_named(
    client: TestClient, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "KEPT_SECONDS", 0)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {
        "database": "ok",
        "blobs": "ok",
        "broker": "does not answer",
    }
    with installation.database.write() as session:
        session.connection().exec_driver_sql("ALTER TABLE jobs RENAME TO lost")
    assert client.get("/readyz").json()["checks"]["database"] == "OperationalError"
    assert client.get("/healthz").json() == {"status": "ok"}


def test_asking_often_writes_once(
    client: TestClient, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, clock = [], Clock()
    monkeypatch.setattr(readiness, "time", clock)
    monkeypatch.setattr(installation.blobs, "put", lambda key, content: written.append(key))
    answers = [client.get("/readyz").json() for _ in range(5)]
    assert written == ["probe/readyz"]
    assert answers == answers[:1] * 5
    clock.seconds += readiness.KEPT_SECONDS
    client.get("/readyz")
    assert len(written) == 2


def test_a_full_disk_is_not_ready(client: TestClient, installation: Installation) -> None:
    installation.blobs._floor = 1 << 60
    assert client.get("/readyz").json()["checks"]["blobs"] == "DiskFullError"


def test_requests_and_jobs_are_counted(client: TestClient, job_id: str) -> None:
    client.get(f"/v1/jobs/{job_id}")
    client.get("/nothing/here")
    client.request("BREW", "/healthz")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    for line in (
        'mdf_http_requests_total{method="POST",route="/v1/jobs",status="202"} 1.0',
        'mdf_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="200"} 1.0',
        'mdf_http_requests_total{method="GET",route="unmatched",status="404"} 1.0',
        'mdf_http_requests_total{method="other",route="/healthz",status="405"} 1.0',
        'mdf_http_request_seconds_count{method="POST",route="/v1/jobs"} 1.0',
        'mdf_jobs{state="queued",type="discriminator_training"} 1.0',
        'mdf_queue_depth{queue="train"} 1.0',
        "mdf_workers 0.0",
        'mdf_stored_objects{kind="images"} 1.0',
        'mdf_build_info{version="0.1.0"} 1.0',
    ):
        assert line in lines
    assert any(line.startswith("mdf_blobs_disk_free_bytes ") for line in lines)
    assert job_id not in answer.text


def test_workers_are_listed_while_they_live(
    client: TestClient, installation: Installation, job_id: str, make_key
) -> None:
    with installation.database.write() as session:
        for name, silent in (("a", 0), ("b", 3600)):
            session.add(
                Worker(
                    id=name,
                    host="here",
                    pid=7,
                    device="cpu",
                    job_id=job_id,
                    resources={"memory": {"total": 8, "available": 2}, "gpus": []},
                    started=now(),
                    last_seen=now() - timedelta(seconds=silent),
                )
            )
    (worker,) = client.get("/v1/workers").json()["data"]
    assert (worker["id"], worker["device"], worker["job_id"]) == ("a", "cpu", job_id)
    assert worker["resources"] == {
        "memory": {"total": 8, "available": 2},
        "process": None,
        "disk": None,
        "gpus": [],
    }
    make_key("admin")
    bert = make_key("read", owner="bert")
    (worker,) = client.get("/v1/workers", headers=bert).json()["data"]
    assert worker["job_id"] is None


def test_openapi_is_a_contract(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operations = {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    names = [operation["operationId"] for operation in operations.values()]
    assert len(names) == len(set(names)) > 30
    for (method, path), operation in operations.items():
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        if path in ("/healthz", "/readyz") or where == "post /v1/session":
            continue
        # Nobody is asked for a key here: there is none.
        assert operation["security"] == [{"HTTPBearer": []}, {}], where
        for status, answer in operation["responses"].items():
            if status >= "400":
                schema = answer["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ProblemDetails"}, where
        assert {"401", "403"} <= operation["responses"].keys(), where
        if "{" in path:
            assert "404" in operation["responses"], where
        if "requestBody" in operation:
            assert {"413", "415", "422"} <= operation["responses"].keys(), where
    assert "HTTPValidationError" not in document["components"]["schemas"]
    created = [
        operation
        for operation in operations.values()
        if any(
            each["name"].lower() == "idempotency-key" for each in operation.get("parameters", ())
        )
    ]
    assert {operation["operationId"] for operation in created} == {
        "upload_image",
        "create_dataset",
        "import_model",
        "restore_image",
        "synthesize_image",
        "submit_job",
        "import_loss",
        "create_api_key",
        "create_webhook",
    }
