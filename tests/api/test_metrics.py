"""The metrics: a real parser reads them, and they say what has happened."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from services.access import LOCAL
from services.database.schema import Webhook, WebhookDelivery, Worker, now
from services.installation import Installation
from services.jobs import claims, requests
from services.jobs.claims import Claim
from services.jobs.failures import failure

FOLDER = Path(__file__).parents[2] / "docs" / "operations"
LEASE = timedelta(seconds=60)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(client: TestClient) -> Samples:
    """Every sample, by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation, family.name
        assert family.type in {"counter", "gauge", "histogram"}, family.name
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, /, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def run(installation: Installation, job_id: str, token: int, *, lost: bool) -> None:
    """One attempt: begun, and lost or failed."""
    with installation.database.write() as session:
        assert claims.claim(session, Claim(job_id, token), holder="w", host="h", lease=LEASE)
    with installation.database.write() as session:
        held = Claim(job_id, token)
        if lost:
            claims.release(session, held, lost=True, max_attempts=5)
        else:
            claims.renew(session, held, lease=LEASE, ran=70)
            claims.fail(session, held, failure("diverged", "not finite", retryable=False))


def test_attempts_waits_and_ends_are_counted_by_type(
    client: TestClient, installation: Installation, job_id: str
) -> None:
    kind = {"type": "discriminator_training"}
    before = scrape(client)
    assert value(before, "mdf_job_claims_total", **kind) == 0
    assert value(before, "mdf_job_wait_seconds_bucket", **kind, le="+Inf") == 0
    ended = {**kind, "state": "failed", "code": "diverged"}
    assert value(before, "mdf_jobs_ended_total", **ended) == 0

    run(installation, job_id, 1, lost=True)
    run(installation, job_id, 3, lost=False)
    after = scrape(client)
    assert value(after, "mdf_job_claims_total", **kind) == 2
    assert value(after, "mdf_job_attempts_lost_total", **kind) == 1
    assert value(after, "mdf_jobs_ended_total", **ended) == 1
    assert value(after, "mdf_job_wait_seconds_count", **kind) == 1
    assert value(after, "mdf_job_run_seconds_sum", **kind) == 70
    assert value(after, "mdf_job_run_seconds_bucket", **kind, le="60.0") == 0
    assert value(after, "mdf_job_run_seconds_bucket", **kind, le="300.0") == 1
    assert value(after, "mdf_job_run_seconds_bucket", **kind, le="+Inf") == 1
    assert value(after, "mdf_jobs", **kind, state="failed") == 1


def test_what_was_counted_stays_when_its_job_is_deleted(
    client: TestClient, installation: Installation, job_id: str
) -> None:
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code < 300
    assert client.delete(f"/v1/jobs/{job_id}").status_code < 300
    labels = {"type": "discriminator_training", "state": "canceled"}
    samples = scrape(client)
    assert value(samples, "mdf_jobs_ended_total", **labels, code="") == 1
    assert value(samples, "mdf_jobs", **labels) == 0


def test_queues_are_told_apart(client: TestClient, installation: Installation, job_id: str) -> None:
    samples = scrape(client)
    depths = {
        queue: value(samples, "mdf_queue_depth", queue=queue)
        for queue in ("train", "restore", "prepare")
    }
    assert depths == {"train": 1, "restore": 0, "prepare": 0}
    with installation.database.write() as session:
        requests.cancel(session, job_id, LOCAL)
    assert value(scrape(client), "mdf_queue_depth", queue="train") == 0


def show(installation: Installation, name: str, host: str, resources: Mapping[str, Any]) -> None:
    with installation.database.write() as session:
        session.add(
            Worker(
                id=f"{host}:{name}:7",
                host=host,
                pid=7,
                device="cpu",
                job_id=None,
                resources=resources,
                started=now(),
                last_seen=now(),
            )
        )


def resources(free: int, *, gpus: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "memory": {"total": 1000, "available": free},
        "process": {"resident": free + 1},
        "disk": {"total": 2000, "free": free + 2},
        "gpus": [
            {"index": index, "name": "L4", "memory": {"total": 10, "used": 3}, "utilization": 0.5}
            for index in gpus
        ],
    }


def test_each_host_and_gpu_is_there_once_as_it_was_seen_last(
    client: TestClient, installation: Installation
) -> None:
    show(installation, "0", "a", resources(500, gpus=("0",)))
    show(installation, "1", "a", resources(400, gpus=("0", "1")))
    show(installation, "0", "b", resources(300))
    show(installation, "1", "b", {})  # it has not measured yet
    samples = scrape(client)
    assert value(samples, "mdf_workers") == 4
    assert value(samples, "mdf_host_memory_bytes", host="a") == 1000
    assert value(samples, "mdf_host_memory_available_bytes", host="a") == 400
    assert value(samples, "mdf_host_disk_free_bytes", host="b") == 302
    assert value(samples, "mdf_slot_memory_bytes", host="a", slot="0") == 501
    assert value(samples, "mdf_slot_memory_bytes", host="a", slot="1") == 401
    gpu = {"host": "a", "gpu": "1", "name": "L4"}
    assert value(samples, "mdf_gpu_memory_bytes", **gpu) == 10
    assert value(samples, "mdf_gpu_memory_used_bytes", **gpu) == 3
    assert value(samples, "mdf_gpu_utilization_ratio", **gpu) == 0.5


def test_messages_to_webhooks_that_have_not_arrived_are_counted(
    client: TestClient, installation: Installation
) -> None:
    with installation.database.write() as session:
        session.add(
            Webhook(
                id="hook_1",
                owner="local",
                name="x",
                url="https://example.com",
                events=[],
                secret="whsec_x",
                created=now(),
                disabled=now(),
            )
        )
        session.flush()
        for number, state in enumerate(("pending", "failed", "failed", "delivered")):
            session.add(
                WebhookDelivery(
                    id=f"msg_{number}",
                    webhook_id="hook_1",
                    event="job.failed",
                    content={},
                    state=state,
                    attempts=0,
                    due=now() + timedelta(days=1),
                    created=now(),
                )
            )
    samples = scrape(client)
    assert value(samples, "mdf_webhook_deliveries", state="pending") == 1
    assert value(samples, "mdf_webhook_deliveries", state="failed") == 2
    assert value(samples, "mdf_webhooks_disabled") == 1


def test_what_is_stored_is_counted(
    client: TestClient, installation: Installation, image_id: str
) -> None:
    samples = scrape(client)
    assert value(samples, "mdf_stored_objects", kind="images") == 1
    assert value(samples, "mdf_stored_bytes", kind="images") > 10_000
    assert 0 < value(samples, "mdf_blobs_disk_free_bytes") < value(samples, "mdf_blobs_disk_bytes")
    assert value(samples, "process_open_fds") > 3
    assert value(samples, "mdf_event_streams") == 0
