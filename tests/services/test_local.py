import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.local import LocalProgress, LocalRun
from services.run import Signal
from tests.waiting import wait_until

TRAINING = Path(__file__).with_name("local_training.py")


def test_the_last_checkpoint_is_kept_in_the_folder(tmp_path: Path) -> None:
    run = LocalRun(tmp_path / "new" / "folder")
    assert run.load_checkpoint() is None
    run.save_checkpoint(b"first")
    run.save_checkpoint(b"second")
    again = LocalRun(tmp_path / "new" / "folder")
    assert again.load_checkpoint() == b"second"
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 1


def test_it_asks_for_a_checkpoint_every_so_often(tmp_path: Path) -> None:
    run = LocalRun(tmp_path, checkpoint_every=3)
    polled = [run.poll() for _ in range(7)]
    assert [signal is Signal.CHECKPOINT for signal in polled] == [False, False, True] * 2 + [False]


def test_what_is_asked_for_is_told_at_every_poll(tmp_path: Path) -> None:
    run = LocalRun(tmp_path, checkpoint_every=1)
    run.ask(Signal.PAUSE)
    assert [run.poll(), run.poll()] == [Signal.PAUSE, Signal.PAUSE]


def test_progress_carries_the_latest_metrics(tmp_path: Path) -> None:
    heard: list[LocalProgress] = []
    lines: list[str] = []
    run = LocalRun(tmp_path, on_progress=heard.append, on_log=lines.append)
    run.metrics(scale=1, step=2, values={"reconstruction": 0.5})
    run.progress(scale=1, scales=8, step=3, steps=10)
    run.log("hello")
    assert heard == [LocalProgress(1, 8, 3, 10, {"reconstruction": 0.5})]
    assert lines == ["hello"]


def test_samples_are_files(tmp_path: Path) -> None:
    LocalRun(tmp_path).sample(scale=2, step=30, kind="generated", png=b"png")
    assert (tmp_path / "samples" / "02-000030-generated.png").read_bytes() == b"png"


@pytest.mark.slow
def test_a_training_killed_again_and_again_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """Real processes, ended by SIGKILL at random moments, each going on from the folder."""

    def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(TRAINING), str(folder), *words])

    assert start(tmp_path / "whole").wait(300) == 0
    checkpoint = tmp_path / "killed" / "checkpoint.pt"
    chance = random.Random(os.getpid())
    last = 0
    for _ in range(4):
        child = start(tmp_path / "killed", "stay")
        wait_until(lambda old=last: checkpoint.exists() and checkpoint.stat().st_mtime_ns != old)
        time.sleep(chance.uniform(0, 0.05))  # it goes on, or writes the next one
        child.kill()
        assert child.wait() == -signal.SIGKILL
        last = checkpoint.stat().st_mtime_ns
    assert start(tmp_path / "killed").wait(300) == 0
    for name in ("loss.safetensors", "history.bin"):
        whole, killed = (tmp_path / run / name for run in ("whole", "killed"))
        assert killed.read_bytes() == whole.read_bytes()
