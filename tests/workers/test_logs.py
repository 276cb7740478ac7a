"""What a worker and its job processes log, when they are asked for JSON."""

import json
from pathlib import Path

import pytest

from services import logs
from services.settings import Settings
from tests.waiting import PATIENCE_SECONDS

PATIENT = str(Path(__file__).with_name("patient_worker.py"))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"log_format": "json", "log_level": "DEBUG"})


def test_every_line_is_json_and_a_jobs_lines_name_job_request_and_worker(
    house, tmp_path: Path
) -> None:
    worker = house.worker((PATIENT,))
    with logs.about(request_id="r1"):
        job_id = house.submit("steps=10 raise_at=5 linger=60")
    house.wait_for_end(job_id)
    worker.terminate()
    worker.wait(PATIENCE_SECONDS)
    said = [json.loads(line) for line in (tmp_path / "worker-0.log").read_text().splitlines()]
    assert {line["worker"].split(":")[1] for line in said} == {"0"}
    assert {"celery.worker.strategy", "kombu.pidbox"} & {line["logger"] for line in said}

    (failed,) = [line for line in said if "exception" in line]
    assert failed["message"] == f"job {job_id} failed: internal"
    assert failed["exception"].startswith("Traceback")
    # By itself: nobody waits for an interpreter that ends slowly, or has to kill it.
    (ended,) = [line for line in said if line["message"].endswith("process ended with 0")]
    for line in (failed, ended):
        assert (line["job_id"], line["request_id"], line["attempt"]) == (job_id, "r1", 1)
