"""Slots go round the GPUs that the driver lists and the environment allows."""

import pytest

from services.devices import Device, device_of

CPU = Device(visible="", label="cpu")


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver that lists two GPUs."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, NVIDIA H200'\necho '1, NVIDIA L4'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


def test_one_gpu_for_each_slot_and_round_again(driver):
    assert [device_of(slot) for slot in range(3)] == [
        Device("0", "cuda:0 NVIDIA H200"),
        Device("1", "cuda:1 NVIDIA L4"),
        Device("0", "cuda:0 NVIDIA H200"),
    ]


def test_only_what_the_environment_allows(driver, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert device_of(0) == device_of(1) == Device("1", "cuda:1 NVIDIA L4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device_of(0) == CPU


def test_without_a_working_driver_it_is_the_cpu(driver, monkeypatch):
    driver.write_text("#!/bin/sh\nexit 9\n")
    assert device_of(0) == CPU
    monkeypatch.setenv("PATH", "/nowhere")
    assert device_of(0) == CPU
