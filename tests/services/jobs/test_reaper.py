"""The reaper takes back the dead, wakes slots, and clears away."""

import os
import time
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from services.database.schema import Job, JobSample, Worker, now
from services.jobs import claims, requests
from services.jobs import reaper as reapers
from services.jobs.claims import Claim
from services.jobs.dispatch import Dispatcher
from services.jobs.locks import Locks, this_host
from services.jobs.queues import QUEUES
from services.jobs.reaper import Reaper
from services.settings import Settings
from tests.clock import Clock
from tests.conftest import patient_dispatcher

TYPE = "discriminator_training"


@pytest.fixture
def settings(settings):
    """A job that has just been submitted is young, also where that took a while."""
    return settings.model_copy(update={"redispatch_seconds": 30})


@pytest.fixture
def dispatcher(settings, broker):
    opened = patient_dispatcher(settings)
    yield opened
    opened.close()


@pytest.fixture
def reaper(installation, dispatcher):
    return Reaper(installation, dispatcher)


def waited(desk, job: Job, seconds: float) -> None:
    """Make it so that the job has waited for that long."""
    with desk.installation.database.write() as session:
        row = session.get_one(Job, job.id)
        row.queued = now() - timedelta(seconds=seconds)
        row.announced = None


def test_takes_back_a_job_whose_lease_has_ended(desk, reaper, dispatcher):
    dead, alive = desk.submit(), desk.submit()
    desk.claim(dead, lease=-0.1)
    desk.claim(alive)
    assert reaper.reclaim() == [dead.id]
    assert (desk.job(dead).state, desk.job(alive).state) == ("queued", "running")
    assert dispatcher.waiting(QUEUES[TYPE]) == 1
    assert reaper.reclaim() == []


def test_a_lease_renewed_while_the_reaper_waits_to_write_keeps_its_attempt(
    desk, installation, reaper, monkeypatch
):
    job = desk.submit()
    claim = desk.claim(job, lease=-0.1)
    write = installation.database.write

    def write_after_the_renewal():
        with write() as session:
            claims.renew(session, claim, lease=timedelta(seconds=30), ran=0)
        return write()

    monkeypatch.setattr(installation.database, "write", write_after_the_renewal)
    assert reaper.reclaim() == []
    row = desk.job(job)
    assert (row.state, row.token, row.lost_attempts) == ("running", claim.token, 0)


def test_leases_do_not_count_at_once_after_the_machine_has_slept(desk, reaper, monkeypatch):
    reaper.patrol()
    job = desk.submit()
    desk.claim(job, lease=-0.1)
    monkeypatch.setattr(reaper, "_patrolled", now() - timedelta(minutes=5))
    reaper.patrol()
    reaper.patrol()
    assert desk.job(job).state == "running"
    monkeypatch.setattr(reaper, "_leases_count_from", time.monotonic())
    reaper.patrol()
    assert desk.job(job).state == "queued"


@pytest.mark.parametrize("asked_for", ["held jobs", "overdue jobs"])
def test_leases_do_not_count_at_once_after_the_database_was_silent(
    desk, reaper, monkeypatch, asked_for
):
    clock = Clock()
    monkeypatch.setattr("services.jobs.deaths.time", clock)
    monkeypatch.setattr("services.jobs.reaper.time", clock)
    query = {"held jobs": "held_jobs", "overdue jobs": "overdue_jobs"}[asked_for]
    ask = getattr(claims, query)

    def ask_a_silent_database(*arguments):
        clock.sleep(40)
        monkeypatch.setattr(claims, query, ask)
        return ask(*arguments)

    reaper.patrol()
    monkeypatch.setattr(claims, query, ask_a_silent_database)
    if asked_for == "overdue jobs":
        reaper.patrol()
    job = desk.submit()
    desk.claim(job, lease=-0.1)
    for _ in range(2):
        reaper.patrol()
        assert desk.job(job).state == "running"
    clock.sleep(desk.installation.settings.lease_seconds)
    reaper.patrol()
    assert desk.job(job).state == "queued"


def test_takes_back_a_job_of_this_host_whose_lock_is_free(desk, installation, reaper):
    job = desk.submit()
    claim = Claim(job.id, 1)
    lock = Locks.of(installation.settings).take(claim)
    with installation.database.write() as session:
        lease = timedelta(seconds=30)
        claims.claim(session, claim, holder="w", host=this_host(), lease=lease)
    assert reaper.reclaim() == []
    lock.close()
    assert reaper.reclaim() == [job.id]


def test_announces_again_what_waits_without_a_message_and_no_more(
    desk, reaper, dispatcher, monkeypatch
):
    monkeypatch.setattr("services.jobs.reaper._QUIET", timedelta(seconds=30))
    jobs = [desk.submit() for _ in range(5)]
    assert reaper.announce_waiting() == 0  # young ones are being announced by who took them
    for job in jobs:
        waited(desk, job, 60)
    dispatcher.announce(jobs[0].id, TYPE)
    assert reaper.announce_waiting() == 4
    assert dispatcher.waiting(QUEUES[TYPE]) == 5
    for job in jobs:
        waited(desk, job, 60)
    assert reaper.announce_waiting() == 0  # every job has its message: the slots are busy
    assert dispatcher.waiting(QUEUES[TYPE]) == 5


def test_a_clock_that_was_set_back_keeps_nobody_waiting(desk, reaper, dispatcher):
    jobs = [desk.submit() for _ in range(2)]
    for job in jobs:
        waited(desk, job, -3600)
    assert reaper.announce_waiting() == 2
    assert dispatcher.waiting(QUEUES[TYPE]) == 2
    assert [desk.job(job).announced <= now() for job in jobs] == [True, True]
    assert reaper.announce_waiting() == 0


def test_a_message_of_the_future_may_be_missing_too(desk, reaper):
    job = desk.submit()
    with desk.installation.database.write() as session:
        session.get_one(Job, job.id).announced = now() + timedelta(hours=1)
    assert reaper.announce_waiting() == 1


def test_a_lease_far_in_the_future_is_nobodys_to_end(desk, reaper):
    """The clock of its holder's host may be ahead of ours."""
    job = desk.submit()
    desk.claim(job, lease=86_400)
    assert reaper.reclaim() == []


def test_leases_do_not_count_at_once_after_the_clock_was_set_back(desk, reaper, monkeypatch):
    reaper.patrol()
    job = desk.submit()
    desk.claim(job, lease=-1)
    monkeypatch.setattr(reaper, "_patrolled", now() + timedelta(days=1))
    reaper.patrol()
    assert desk.job(job).state == "running"
    monkeypatch.setattr(reaper, "_leases_count_from", time.monotonic())
    reaper.patrol()
    assert desk.job(job).state == "queued"


def test_a_worker_that_was_seen_in_the_future_is_forgotten(desk, installation, reaper):
    with installation.database.write() as session:
        for name, age in (("here", -60), ("gone", -7200)):
            seen = now() - timedelta(seconds=age)
            session.add(
                Worker(id=name, host="h", pid=1, device="cpu", started=now(), last_seen=seen)
            )
    reaper.sweep()
    with installation.database.read() as session:
        assert [row.id for row in session.scalars(select(Worker))] == ["here"]


def test_announces_nothing_that_may_not_start(desk, installation, reaper, dispatcher):
    running, capped = desk.submit(), desk.submit()
    with installation.database.write() as session:
        session.get_one(Job, capped.id).running_cap = 1
    held = desk.claim(running)
    waited(desk, capped, 60)
    assert reaper.announce_waiting() == 0
    waited(desk, capped, 1)  # shorter than anybody's message may be missing
    with installation.database.write() as session:
        claims.succeed(session, held)
    assert reaper.announce_waiting() == 1
    assert dispatcher.waiting(QUEUES[TYPE]) == 1


def test_a_broker_that_is_away_disturbs_nothing(desk, installation, tmp_path):
    away = Settings(home=tmp_path / "nowhere")
    job = desk.submit()
    waited(desk, job, 60)
    desk.claim(desk.submit(), lease=-1)
    reaper = Reaper(installation, Dispatcher(away))
    reaper.patrol()
    assert desk.job(job).state == "queued"


def test_ends_queued_jobs_whose_deadline_has_passed_a_few_at_a_time(
    desk, installation, reaper, monkeypatch
):
    monkeypatch.setattr(reapers, "_ENDED_AT_ONCE", 2)
    jobs = [desk.submit(deadline=now() + timedelta(hours=1)) for _ in range(4)]
    with installation.database.write() as session:
        for job in jobs[:3]:
            session.get_one(Job, job.id).deadline = now() - timedelta(seconds=1)
    for ended in (2, 3, 3):
        reaper.expire()
        states = [desk.job(job).state for job in jobs]
        assert states.count("expired") == ended
    assert states == [*["expired"] * 3, "queued"]


def test_sweeps_what_nobody_needs(desk, installation, reaper):
    blobs = installation.blobs
    running, failed, deleted = desk.submit(), desk.submit(), desk.submit()
    desk.claim(running)
    claim = desk.claim(failed)
    with installation.database.write() as session:
        session.get_one(Job, failed.id).checkpoint = f"checkpoints/{failed.id}/1-2"
        place = {"scale": 1, "step": 1, "kind": "map"}
        sample = f"samples/{failed.id}/1-1-map.png"
        session.add(JobSample(id="smp", job_id=failed.id, **place, blob=sample, created=now()))
        claims.fail(session, claim, {"code": "internal"})
        session.add(
            Worker(id="gone", host="h", pid=1, device="cpu", started=now(), last_seen=now())
        )
        session.flush()
        session.get_one(Worker, "gone").last_seen = now() - timedelta(hours=1)
    desk.ask(requests.cancel, deleted)
    desk.delete(deleted)
    kept = [
        f"checkpoints/{running.id}/1-1",  # its own run looks after it
        f"checkpoints/{failed.id}/1-2",  # a retry goes on from it
        f"samples/{failed.id}/1-1-map.png",
    ]
    for key in [
        *kept,
        f"checkpoints/{failed.id}/1-1",
        f"checkpoints/{deleted.id}/1-1",
        f"samples/{deleted.id}/1-1-map.png",
        f"artifacts/{deleted.id}/contact_sheet",
    ]:
        blobs.put(key, b"x")
    draft = blobs.folder / "checkpoints" / running.id / ".tmp-0"
    draft.write_bytes(b"half")
    young = f"checkpoints/{deleted.id}/2-1"
    for file in blobs.folder.rglob("*"):
        os.utime(file, (0, 0))
    blobs.put(young, b"x")
    reaper.sweep()
    assert not draft.exists()
    left = [key for folder in ("checkpoints", "samples", "artifacts") for key in blobs.keys(folder)]
    assert sorted(left) == sorted([*kept, young])
    with installation.database.read() as session:
        assert session.get(Worker, "gone") is None


def test_a_lease_that_nobody_could_renew_does_not_count(desk, reaper, monkeypatch):
    """With the database away, or its disk full, the living show no sign of life either."""
    away, alive = desk.submit(), desk.submit()
    desk.claim(alive, lease=-0.1)
    waited(desk, away, 60)
    refused = OperationalError("UPDATE", {}, Exception("database or disk is full"))
    with monkeypatch.context() as patch:
        patch.setattr(claims, "release", raising(refused))
        with pytest.raises(OperationalError):
            reaper.patrol()
    reaper.patrol()
    assert desk.job(alive).state == "running"
    monkeypatch.setattr(reaper, "_leases_count_from", 0)
    reaper.patrol()
    assert desk.job(alive).state == "queued"


def raising(error):
    def fail(*arguments, **options):
        raise error

    return fail
