"""A slot whose host or database fails it at the wrong moment holds up neither job nor host."""

import sys
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from services.access import LOCAL
from services.database.schema import Image, Job
from services.devices import Device
from services.installation import Installation
from services.jobs import claims, workers
from services.jobs.claims import Claim
from services.jobs.dispatch import Dispatcher
from services.jobs.locks import Locks
from services.jobs.reaper import Reaper
from services.jobs.submission import submit
from services.jobs.workers import Slot
from services.phase1.recipe import DiscriminatorTraining
from tests.waiting import PATIENCE_SECONDS, wait_until
from workers import supervisor
from workers.supervisor import Supervisor

# A job process that says that it runs, and ends without a word in the database.
DEAF = "import os, sys, time; os.close(int(sys.argv[4])); open({!r}, 'w'); time.sleep(1)"

# One that publishes, and clears away for longer than a stale one is let live.
TIDY = """
import sys, time
from pathlib import Path
from services.installation import Installation
from services.jobs import claims
from services.jobs.claims import Claim
from services.settings import load_settings
installation = Installation.open(load_settings())
with installation.database.write() as session:
    claims.succeed(session, Claim(sys.argv[1], int(sys.argv[2])))
time.sleep(3)
Path({!r}).touch()
"""

Open = Callable[[Sequence[str]], Supervisor]


@pytest.fixture
def opened(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Open:
    """A slot whose job process is the given command; there is no broker."""
    monkeypatch.setattr(supervisor, "_REST_SECONDS", 0.0)
    monkeypatch.setattr(Dispatcher, "ready", lambda _: False)

    def begin(command: Sequence[str]) -> Supervisor:
        reaper = Reaper(installation, Dispatcher(installation.settings))
        slot = Slot.here(0, "cpu")
        return Supervisor(installation, reaper, slot, Device("", "cpu"), command=command)

    return begin


@pytest.fixture
def job_id(installation: Installation, seed_image: Image) -> str:
    """A queued job."""
    given = {"seed_image_ids": [seed_image.id], "task": {"kind": "sisr"}, "preset": "quick"}
    with installation.database.write() as session:
        return submit(session, DiscriminatorTraining.model_validate(given), caller=LOCAL).id


def look(installation: Installation, job_id: str) -> Job:
    with installation.database.read() as session:
        return session.get_one(Job, job_id)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def fail(*_: Any, **__: Any) -> None:
    raise OperationalError("UPDATE jobs", {}, OSError("the disk is gone"))


def test_a_claim_that_cannot_be_written_gives_its_lock_up(
    opened: Open, installation: Installation, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = opened(["true"])
    monkeypatch.setattr(claims, "claim", fail)
    with pytest.raises(OperationalError):
        slot.run(job_id)
    lock = Locks.of(installation.settings).take(Claim(job_id, 1), patience=0)
    assert lock is not None
    lock.discard()


def test_a_lock_that_another_keeps_does_not_hold_the_slot(
    opened: Open, installation: Installation, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_LOCK_TRIES", 2)
    lock = Locks.of(installation.settings).take(Claim(job_id, 1))
    assert lock is not None
    slot = threading.Thread(target=opened(["true"]).run, args=(job_id,), daemon=True)
    slot.start()
    slot.join(PATIENCE_SECONDS)
    assert not slot.is_alive()
    assert look(installation, job_id).state == "queued"
    lock.discard()


def test_a_process_that_cannot_be_started_costs_neither_an_attempt_nor_a_descriptor(
    opened: Open, installation: Installation, job_id: str
) -> None:
    slot = opened(["/nowhere/python"])
    for _ in range(2):
        before = descriptors()
        with pytest.raises(FileNotFoundError):
            slot.run(job_id)
        assert descriptors() <= before
        job = look(installation, job_id)
        assert (job.state, job.attempt, job.lease_holder) == ("queued", 0, None)
    assert list((installation.settings.home_folder / "locks").iterdir()) == []


def test_a_slot_that_cannot_be_shown_counts_no_leases(
    opened: Open, installation: Installation, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Claim(job_id, 1)
    with installation.database.write() as session:
        assert claims.claim(session, claim, holder="w", host="h", lease=timedelta(seconds=-1))
    monkeypatch.setattr(workers, "show", fail)
    patrols: list[None] = []
    patrol = Reaper.patrol
    monkeypatch.setattr(Reaper, "patrol", lambda reaper: patrols.append(patrol(reaper)))
    beating = opened(["true"])
    threading.Thread(target=beating.beat, daemon=True).start()
    wait_until(lambda: len(patrols) > 2)
    beating.stop()
    assert look(installation, job_id).state == "running"


def test_a_slot_that_cannot_be_shown_runs_its_job(
    opened: Open, installation: Installation, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "show", fail)
    opened([sys.executable, "-c", "pass"]).run(job_id)
    assert look(installation, job_id).attempt == 1  # lost: the process did nothing


def test_a_process_that_has_closed_its_pipe_may_be_told_to_stop(
    opened: Open, installation: Installation, job_id: str, tmp_path: Path
) -> None:
    sign = tmp_path / "runs"
    slot = opened([sys.executable, "-c", DEAF.format(str(sign))])

    def stop() -> None:
        wait_until(sign.exists)
        slot.stop()

    threading.Thread(target=stop, daemon=True).start()
    slot.run(job_id)
    assert look(installation, job_id).state == "queued"


def test_a_lost_job_is_taken_back_before_the_broker_is_asked_anything(
    opened: Open, installation: Installation, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []

    def ready(_: Dispatcher) -> bool:
        found.append(look(installation, job_id).state)
        return False

    slot = opened(["true"])
    monkeypatch.setattr(Dispatcher, "ready", ready)
    slot.run(job_id)
    assert found == ["queued"]


def test_a_process_that_has_published_may_clear_away(
    opened: Open, installation: Installation, job_id: str, tmp_path: Path
) -> None:
    cleared = tmp_path / "cleared"
    opened([sys.executable, "-c", TIDY.format(str(cleared))]).run(job_id)
    assert look(installation, job_id).state == "succeeded"
    assert cleared.exists()
