"""A worker tells what its host has left, while it has a job and while it has none."""

import os
from pathlib import Path

import psutil
import pytest

from services.database.schema import Worker
from tests.waiting import wait_until


def shown(house) -> Worker:
    """The slot's entry in the register, once it has measured."""

    def look() -> Worker | None:
        with house.installation.database.read() as session:
            found = session.query(Worker).one_or_none()
        return found if found is not None and found.resources else None

    return wait_until(look)


def test_memory_disk_and_gpu_stand_in_the_register(
    house, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text(
        "#!/bin/sh\ncase $1 in\n--query-gpu=index,name) echo '0, NVIDIA H200';;\n"
        "--id=0) echo '0, NVIDIA H200, 143771, 1024, 97';;\nesac\n"
    )
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    house.worker()
    slot = shown(house)
    assert slot.device == "cuda:0 NVIDIA H200"
    assert slot.resources["memory"]["total"] == psutil.virtual_memory().total
    assert slot.resources["disk"]["free"] > 0
    assert slot.resources["gpus"] == [
        {
            "index": "0",
            "name": "NVIDIA H200",
            "memory": {"total": 143771 << 20, "used": 1024 << 20},
            "utilization": 0.97,
        }
    ]
    idle = slot.resources["process"]["resident"]
    job_id = house.submit("steps=10000 step_seconds=0.05")
    house.wait_for_step(job_id, 1)
    wait_until(lambda: shown(house).resources["process"]["resident"] >= idle + (16 << 20))
    assert shown(house).job_id == job_id
