"""A lock tells whether a process lives."""

import os
import signal
import subprocess
import sys

import pytest

from services.jobs.claims import Claim
from services.jobs.locks import Locks
from tests.waiting import wait_until

CLAIM = Claim("job_1", 3)


@pytest.fixture
def locks(tmp_path):
    return Locks(tmp_path / "locks")


def test_one_holder_at_a_time(locks):
    lock = locks.take(CLAIM)
    assert locks.take(CLAIM, patience=0.05) is None
    assert not locks.is_dead(CLAIM)
    assert locks.take(Claim("job_1", 4)) is not None  # another attempt, another lock
    lock.close()
    assert locks.is_dead(CLAIM)
    assert locks.take(CLAIM) is not None


def test_a_child_holds_the_lock_until_it_is_killed(locks):
    lock = locks.take(CLAIM)
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=(lock.descriptor,)
    )
    lock.close()
    assert not locks.is_dead(CLAIM)
    os.kill(child.pid, signal.SIGSTOP)
    assert not locks.is_dead(CLAIM)
    child.kill()
    child.wait()
    assert locks.is_dead(CLAIM)


def test_without_a_file_nothing_is_known_to_be_dead(locks):
    assert not locks.is_dead(CLAIM)
    locks.take(CLAIM).discard()
    assert not locks.is_dead(CLAIM)


def test_a_lock_on_a_removed_file_is_no_lock(locks, tmp_path, monkeypatch):
    path = tmp_path / "locks" / "job_1.3"
    opened = os.open

    def remove_once_opened(*arguments):
        monkeypatch.setattr(os, "open", opened)
        descriptor = opened(*arguments)
        path.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", remove_once_opened)
    lock = locks.take(CLAIM)
    assert path.exists()
    assert os.path.samestat(path.stat(), os.fstat(lock.descriptor))


def test_the_sweep_leaves_what_is_needed_or_held(locks, tmp_path):
    needed, held, left = Claim("job_1", 1), Claim("job_2", 1), Claim("job_3", 1)
    locks.take(needed).close()
    locks.take(held)
    locks.take(left).close()
    locks.sweep([needed])
    assert {path.name for path in (tmp_path / "locks").iterdir()} == {"job_1.1", "job_2.1"}


def test_death_is_seen_before_anybody_waits_for_the_process(locks):
    lock = locks.take(CLAIM)
    child = subprocess.Popen(["sleep", "60"], pass_fds=(lock.descriptor,))
    lock.close()
    child.kill()
    wait_until(lambda: locks.is_dead(CLAIM))
    child.wait()
