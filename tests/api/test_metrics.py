"""The metrics: a real parser reads them, and they say what has happened."""

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
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


def test_methods_that_callers_make_up_are_counted_as_one(client: TestClient) -> None:
    for method in ("TRACE", "BREW", "HIDDEN"):
        assert client.request(method, "/v1/me").status_code == 405
    told = client.get("/metrics").text
    assert "HIDDEN" not in told
    samples = scrape(client)
    counted = {"route": "/v1/me", "status": "405"}
    assert value(samples, "mdf_http_requests_total", method="TRACE", **counted) == 1
    assert value(samples, "mdf_http_requests_total", method="other", **counted) == 2


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


def test_what_runs_is_counted_by_queue_until_it_has_ended(
    client: TestClient, installation: Installation, job_id: str
) -> None:
    def running() -> dict[str, float]:
        samples = scrape(client)
        return {
            queue: value(samples, "mdf_queue_running", queue=queue)
            for queue in ("train", "restore", "prepare")
        }

    assert running() == {"train": 0, "restore": 0, "prepare": 0}
    held = Claim(job_id, 1)
    with installation.database.write() as session:
        assert claims.claim(session, held, holder="w", host="h", lease=LEASE)
    assert running() == {"train": 1, "restore": 0, "prepare": 0}
    with installation.database.write() as session:
        assert requests.cancel(session, job_id, LOCAL).state == "canceling"
    assert running() == {"train": 1, "restore": 0, "prepare": 0}
    with installation.database.write() as session:
        assert claims.release(session, held, lost=False, max_attempts=5)
    assert running() == {"train": 0, "restore": 0, "prepare": 0}


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


def documented() -> dict[str, set[str]]:
    """The metrics of the page's table, with their labels."""
    rows = re.findall(
        r"^\| `(mdf_\w+)` \|([^|]*)\|", (FOLDER / "monitoring.md").read_text(), flags=re.MULTILINE
    )
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def queries() -> list[str]:
    """What the dashboard and the alerts ask for."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    alerts = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    panels = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())
    ]
    rules = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    assert len(panels) > 20
    assert len(rules) > 10
    return panels + rules


@pytest.fixture
def families(client: TestClient, installation: Installation, image_id: str) -> dict[str, set[str]]:
    """Every family with its labels, of an installation that has some of everything."""
    show(installation, "0", "a", resources(500, gpus=("0",)))
    client.get("/healthz")
    text = client.get("/metrics").text
    return {
        family.name + ("_total" if family.type == "counter" else ""): {
            label for sample in family.samples for label in sample.labels
        }
        - {"le"}
        for family in text_string_to_metric_families(text)
    }


def test_the_page_has_every_metric_with_its_labels(families: dict[str, set[str]]) -> None:
    assert documented() == {
        name: labels for name, labels in families.items() if name.startswith("mdf_")
    }


def test_every_query_asks_for_what_is_there(families: dict[str, set[str]]) -> None:
    for query in queries():
        asked = re.findall(r"\b((?:mdf|process)_\w+)(?:\{([^}]*)\})?", query)
        assert asked, query
        known = {"le", "instance"}
        for name, matchers in asked:
            labels = families[name.removesuffix("_bucket")]
            known |= labels
            assert set(re.findall(r"(\w+)[=!]", matchers)) <= labels, query
        for grouped in re.findall(r"(?:by|on) \(([^)]*)\)", query):
            assert set(grouped.replace(",", " ").split()) <= known, query
        for opening, closing in ("()", "{}", "[]"):
            assert query.count(opening) == query.count(closing), query


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(names) == len(set(names))
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "action"}


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
