"""A worker's host is measured: memory, disk and the GPU, as its driver tells."""

import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from services.devices import Device
from services.resources import measure

CPU = Device(visible="", label="cpu")
GPU = Device(visible="1", label="cuda:1 NVIDIA L4")


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a driver on the PATH."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_memory_and_disk_are_the_hosts(tmp_path: Path) -> None:
    found = measure(CPU, tmp_path)
    assert found["memory"]["total"] == psutil.virtual_memory().total
    assert 0 < found["memory"]["available"] < found["memory"]["total"]
    assert found["disk"]["total"] == shutil.disk_usage(tmp_path).total
    assert 0 < found["disk"]["free"] <= found["disk"]["total"]
    assert found["gpus"] == []


def test_what_the_job_holds_counts_for_its_slot(tmp_path: Path) -> None:
    before = measure(CPU, tmp_path)["process"]["resident"]
    script = "import sys; x = b'x' * (64 << 20); print('held', flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        assert measure(CPU, tmp_path)["process"]["resident"] - before > 64 << 20
    finally:
        child.communicate()


def test_a_folder_that_is_not_there_has_no_disk(tmp_path: Path) -> None:
    assert "disk" not in measure(CPU, tmp_path / "none")


def test_the_slots_gpu_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = 'echo "$@" > asked; echo "1, NVIDIA L4, 23034, 1024, 37"'
    monkeypatch.chdir(tmp_path)
    install(tmp_path, monkeypatch, answer)
    assert measure(GPU, tmp_path)["gpus"] == [
        {
            "index": "1",
            "name": "NVIDIA L4",
            "memory": {"total": 23034 << 20, "used": 1024 << 20},
            "utilization": 0.37,
        }
    ]
    assert (tmp_path / "asked").read_text().split() == [
        "--id=1",
        "--query-gpu=index,name,memory.total,memory.used,utilization.gpu",
        "--format=csv,noheader,nounits",
    ]
    (tmp_path / "asked").unlink()
    measure(CPU, tmp_path)
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(
    "script",
    [
        "exit 9",
        'echo "No devices were found"',
        'echo "1, NVIDIA L4, [N/A], [N/A], [N/A]"',
        "echo",
    ],
)
def test_a_driver_that_does_not_know_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    install(tmp_path, monkeypatch, script)
    assert measure(GPU, tmp_path)["gpus"] == []


def test_a_gpu_may_keep_its_utilization_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, 'echo "0, NVIDIA H200 MIG 1g.18gb, 100, 10, [N/A]"')
    (gpu,) = measure(GPU, tmp_path)["gpus"]
    assert gpu == {
        "index": "0",
        "name": "NVIDIA H200 MIG 1g.18gb",
        "memory": {"total": 100 << 20, "used": 10 << 20},
    }
