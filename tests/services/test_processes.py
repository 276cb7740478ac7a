"""A tethered process ends with the one that started it."""

import os
import subprocess
import sys

import psutil

from services.processes import LIBRARY_ENVIRONMENT, tethered
from tests.waiting import PATIENCE_SECONDS

PARENT = """
import subprocess, sys, time
from services.processes import tethered
child = subprocess.Popen(tethered(["sleep", "600"]))
print(child.pid, flush=True)
time.sleep(600)
"""


def test_it_is_killed_when_its_parent_is():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    psutil.wait_procs([child], timeout=PATIENCE_SECONDS)
    assert not child.is_running()


def test_a_folder_of_the_same_name_where_it_starts_is_not_taken_for_the_service(tmp_path):
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "__init__.py").write_text("raise SystemExit('not ours')")
    command = tethered(["echo", "hello"])
    result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert (result.stdout, result.returncode) == ("hello\n", 0), result.stderr


def test_it_runs_the_command_and_passes_its_exit_code_on():
    command = tethered([sys.executable, "-c", "print('hello'); raise SystemExit(7)"])
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (result.stdout, result.returncode) == ("hello\n", 7)


def test_it_does_not_run_for_a_parent_that_is_gone():
    command = tethered(["echo", "hello"])
    command[4] = "1"  # not who starts it
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (result.stdout, result.returncode) == ("", 1)


def test_onnx_runtime_does_not_report_to_its_makers(tmp_path):
    subprocess.run(
        [sys.executable, "-c", "import onnxruntime"],
        env={**os.environ, **LIBRARY_ENVIRONMENT, "TMPDIR": str(tmp_path)},
        check=True,
    )
    assert list(tmp_path.iterdir()) == []  # what it would report of stands in a file there
