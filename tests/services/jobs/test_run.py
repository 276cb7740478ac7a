"""What a computation reports reaches the database, once and by its owner alone."""

import dataclasses
import sqlite3
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy.exc import OperationalError

from services import usage
from services.database.schema import Job, JobSample, now
from services.errors import DiskFullError
from services.jobs import checkpoints, claims, queries, requests
from services.jobs.failures import DeadlineExceededError
from services.jobs.run import JobRun, StaleRunError, StalledError
from services.run import Canceled, Paused, Signal
from tests.clock import Clock


class RunClock(Clock):
    """A run's time, also that of the day."""

    def __init__(self) -> None:
        super().__init__()
        self._zero = now() - timedelta(seconds=self.seconds)
        self.while_asleep: Callable[[], object] = lambda: None

    def now(self) -> datetime:
        """The time of day."""
        return self._zero + timedelta(seconds=self.seconds)

    def sleep(self, seconds: float) -> None:
        """Time passes, and `while_asleep` is done."""
        super().sleep(seconds)
        self.while_asleep()


@pytest.fixture
def clock(monkeypatch):
    clock = RunClock()
    monkeypatch.setattr("services.jobs.run.time", clock)
    monkeypatch.setattr("services.jobs.run.now", clock.now)
    return clock


@pytest.fixture
def stopping():
    return threading.Event()


@pytest.fixture
def job(desk):
    return desk.submit()


@pytest.fixture
def run(desk, installation, job, stopping, clock):
    return JobRun(installation, desk.claim(job), stopping)


def events(installation, job, kind):
    with installation.database.read() as session:
        found = queries.events_after(session, job.id, 0)
        return [event.content for event in found if event.kind == kind]


def test_a_checkpoint_is_a_file_and_a_row_and_replaces_the_one_before(desk, installation, job, run):
    assert run.load_checkpoint() is None
    run.save_checkpoint(b"one")
    run.save_checkpoint(b"two")
    assert run.load_checkpoint() == b"two"
    key = desk.job(job).checkpoint
    assert installation.blobs.keys("checkpoints") == [key]
    assert installation.blobs.get(key) == b"two"
    assert len(events(installation, job, "checkpoint")) == 2


def test_the_next_attempt_finds_the_checkpoint_and_clears_away_the_rest(
    desk, installation, job, run, stopping
):
    run.save_checkpoint(b"good")
    installation.blobs.put(f"checkpoints/{job.id}/1-99", b"written, but never entered")
    with installation.database.write() as session:
        claims.release(session, run.claim, lost=True, max_attempts=5)
    second = JobRun(installation, desk.claim(job), stopping)
    assert second.load_checkpoint() == b"good"
    assert installation.blobs.keys("checkpoints") == [desk.job(job).checkpoint]


def test_no_sample_takes_a_file_of_a_version_that_named_it_by_scale_and_step(
    installation, job, run
):
    place = {"job_id": job.id, "scale": run.claim.token, "step": 1, "kind": "map"}
    key = f"samples/{job.id}/{place['scale']}-{place['step']}-{place['kind']}.png"
    old = installation.blobs.put(key, b"old").blob
    with installation.database.write() as session:
        session.add(JobSample(id="smp", **place, blob=old, created=now()))
    run.sample(scale=7, step=7, kind="map", png=b"new")
    assert installation.blobs.get(old) == b"old"


def test_an_attempt_that_wakes_late_leaves_the_checkpoints_of_those_after_it(
    desk, installation, job, run, stopping
):
    with installation.database.write() as session:
        claims.release(session, run.claim, lost=True, max_attempts=5)
    second = JobRun(installation, desk.claim(job), stopping)
    second.save_checkpoint(b"newer")
    checkpoints.sweep(installation.blobs, run.claim, keep=None)
    assert second.load_checkpoint() == b"newer"


@pytest.mark.parametrize("damage", [lambda state: state[:3], lambda _: b"", lambda _: b"gooe"])
def test_a_damaged_checkpoint_is_told_and_forgotten(desk, installation, job, run, stopping, damage):
    run.save_checkpoint(b"good")
    key = desk.job(job).checkpoint
    installation.blobs.put(key, damage(b"good"))
    with installation.database.write() as session:
        claims.release(session, run.claim, lost=True, max_attempts=5)
    second = JobRun(installation, desk.claim(job), stopping)
    assert second.load_checkpoint() is None
    row = desk.job(job)
    assert (row.checkpoint, row.checkpoint_at, row.checkpoint_size) == (None, None, None)
    assert installation.blobs.keys("checkpoints") == []
    said = {"message": "the checkpoint is damaged: the job begins anew"}
    assert events(installation, job, "log") == [said]
    second.save_checkpoint(b"anew")
    assert second.load_checkpoint() == b"anew"


def test_a_checkpoint_without_a_digest_of_another_version_is_loaded(
    desk, installation, job, run, stopping
):
    key = f"checkpoints/{job.id}/1-1"
    installation.blobs.put(key, b"old")
    with installation.database.write() as session:
        session.get_one(Job, job.id).checkpoint = key
        claims.release(session, run.claim, lost=True, max_attempts=5)
    assert JobRun(installation, desk.claim(job), stopping).load_checkpoint() == b"old"


def test_a_stale_run_writes_nothing(desk, installation, job, run):
    run.save_checkpoint(b"mine")
    kept = desk.job(job).checkpoint
    with installation.database.write() as session:
        claims.release(session, run.claim, lost=True, max_attempts=5)
    before = desk.job(job).last_seq
    run.metrics(scale=1, step=1, values={"loss": 1.0})
    for write in (
        lambda: run.save_checkpoint(b"stale"),
        lambda: run.sample(scale=1, step=1, kind="generated", png=b"png"),
        lambda: run.log("stale"),
        lambda: run.fail({"code": "internal"}),
    ):
        with pytest.raises(StaleRunError):
            write()
    run._concluding = False
    with pytest.raises(StaleRunError):
        run.pulse()
    with pytest.raises(StaleRunError):
        run.poll()
    after = desk.job(job)
    assert (after.state, after.checkpoint, after.last_seq) == ("queued", kept, before)
    with installation.database.read() as session:
        assert queries.metrics(session, job.id) == []
        assert queries.samples(session, job.id) == []


def test_the_lease_is_long_until_the_first_step(desk, installation, job, run):
    def left() -> float:
        return (desk.job(job).lease_expires - now()).total_seconds()

    assert left() > 150  # torch may be imported from a cold disk, which nothing interrupts
    run.log("still starting")
    assert left() > 150
    run.poll()
    run.log("the first step begins")
    assert left() > 150
    run.poll()
    run.log("the first step is done")
    assert 0 < left() <= installation.settings.lease_seconds


def test_poll_says_what_the_owner_asked(desk, job, run):
    assert run.poll() is Signal.CONTINUE
    desk.ask(requests.finish, job)
    run.pulse()
    assert run.poll() is Signal.FINISH
    desk.ask(requests.pause, job)
    run.pulse()
    assert run.poll() is Signal.PAUSE
    desk.ask(requests.resume, job)
    run.pulse()
    assert run.poll() is Signal.CONTINUE
    desk.ask(requests.cancel, job)
    run.pulse()
    assert run.poll() is Signal.CANCEL


def test_poll_asks_for_a_checkpoint_when_one_is_due_even_while_finishing(
    desk, job, run, stopping, clock
):
    desk.ask(requests.finish, job)
    run.pulse()
    assert run.poll() is Signal.FINISH
    clock.sleep(0.25)
    assert run.poll() is Signal.CHECKPOINT
    run.save_checkpoint(b"state")
    assert run.poll() is Signal.FINISH
    stopping.set()
    assert run.poll() is Signal.PAUSE


def test_after_lost_attempts_the_first_checkpoint_comes_sooner(desk, installation, job, clock):
    settings = installation.settings.model_copy(update={"checkpoint_seconds": 16.0})
    installation = dataclasses.replace(installation, settings=settings)
    with installation.database.write() as session:
        session.get_one(Job, job.id).lost_attempts = 4
    run = JobRun(installation, desk.claim(job), threading.Event())
    clock.sleep(0.95)
    assert run.poll() is Signal.CONTINUE
    clock.sleep(0.1)
    assert run.poll() is Signal.CHECKPOINT
    run.progress(scale=1, scales=1, step=1, steps=2)
    run.save_checkpoint(b"state")
    clock.sleep(15.95)
    assert run.poll() is Signal.CONTINUE
    clock.sleep(0.1)
    assert run.poll() is Signal.CHECKPOINT


def test_finish_is_told_although_a_checkpoint_is_due_at_every_poll(desk, job, run, clock):
    desk.ask(requests.finish, job)
    run.pulse()
    signals = []
    for _ in range(4):
        clock.sleep(0.25)  # an iteration, longer than the time between checkpoints
        signals.append(run.poll())
        if signals[-1] is Signal.CHECKPOINT:
            run.save_checkpoint(b"state")
    assert signals == [Signal.CHECKPOINT, Signal.FINISH] * 2


def test_poll_ends_a_job_whose_deadline_has_passed(desk, installation, job, stopping, clock):
    claim = desk.claim(job)
    with installation.database.write() as session:
        session.get_one(Job, job.id).deadline = clock.now() + timedelta(seconds=0.2)
    run = JobRun(installation, claim, stopping)
    assert run.poll() is Signal.CONTINUE
    clock.sleep(0.25)
    with pytest.raises(DeadlineExceededError):
        run.poll()


def test_the_pulse_writes_what_was_gathered_and_renews_the_lease(
    desk, installation, job, run, clock
):
    run.plan([1, 3])
    for step in range(1, 51):
        run.metrics(scale=2, step=step, values={"loss": 1 / step, "gap": float("nan")})
        run.progress(scale=2, scales=2, step=step, steps=100)
    run.pulse()
    stored = desk.job(job)
    assert stored.progress["fraction"] == pytest.approx((1 + 3 / 2) / 4)
    assert stored.progress["metrics"] == {"loss": 1 / 50}  # what is not finite is no JSON
    assert len(events(installation, job, "progress")) == 1
    with installation.database.read() as session:
        assert len(queries.metrics(session, job.id)) == 50
    lease = stored.lease_expires
    clock.sleep(0.45)
    run.pulse()
    assert desk.job(job).lease_expires == lease
    clock.sleep(0.1)
    run.pulse()
    renewed = desk.job(job)
    assert renewed.lease_expires > lease
    assert renewed.run_seconds == pytest.approx(0.55)


def test_progress_is_written_twice_a_second_at_most(installation, job, run, clock):
    clock.sleep(0.5)
    for step in range(1, 122):
        run.progress(scale=1, scales=1, step=step, steps=10**6)
        run.log("x")
        clock.sleep(1 / 64)
    assert [event["step"] for event in events(installation, job, "progress")] == [1, 33, 65, 97]


def test_a_sample_made_again_replaces_the_old(desk, installation, job, run):
    for png in (b"first", b"second"):
        run.sample(scale=1, step=10, kind="generated", png=png)
    with installation.database.read() as session:
        (sample,) = queries.samples(session, job.id)
    assert installation.blobs.get(sample.blob) == b"second"
    told = events(installation, job, "sample")
    assert told == [{"sample_id": sample.id, "scale": 1, "step": 10, "kind": "generated"}] * 2


def test_of_samples_made_again_the_last_file_stays(desk, installation, job, run, stopping):
    with installation.database.write() as session:  # one of another version
        place = {"job_id": job.id, "scale": 1, "step": 1, "kind": "map"}
        old = installation.blobs.put(f"samples/{job.id}/1-1-map.png", b"old").blob
        session.add(JobSample(id="smp", **place, blob=old, created=now()))
    run.sample(scale=1, step=1, kind="map", png=b"first")
    run.sample(scale=1, step=1, kind="map", png=b"second")
    with installation.database.write() as session:
        claims.release(session, run.claim, lost=True, max_attempts=5)
    JobRun(installation, desk.claim(job), stopping).sample(
        scale=1, step=1, kind="map", png=b"third"
    )
    with installation.database.read() as session:
        (sample,) = queries.samples(session, job.id)
    assert sample.id == "smp"
    assert installation.blobs.keys("samples") == [sample.blob]
    assert installation.blobs.get(sample.blob) == b"third"


def test_an_attempt_that_wakes_late_leaves_the_samples_of_those_after_it(
    desk, installation, job, run, stopping
):
    with installation.database.write() as session:
        claims.release(session, run.claim, lost=True, max_attempts=5)
    second = JobRun(installation, desk.claim(job), stopping)
    second.sample(scale=1, step=1, kind="map", png=b"newer")
    with pytest.raises(StaleRunError):
        run.sample(scale=1, step=1, kind="map", png=b"stale")
    with installation.database.read() as session:
        (sample,) = queries.samples(session, job.id)
    assert installation.blobs.keys("samples") == [sample.blob]
    assert installation.blobs.get(sample.blob) == b"newer"


def test_an_attempt_that_wakes_late_leaves_no_sample_of_a_job_that_is_deleted(
    desk, installation, job, run
):
    with installation.database.write() as session:
        claims.release(session, run.claim, lost=True, max_attempts=5)
    desk.ask(requests.cancel, job)
    desk.delete(job)
    with pytest.raises(StaleRunError):
        run.sample(scale=1, step=1, kind="map", png=b"stale")
    assert installation.blobs.keys("samples") == []


def test_a_sample_whose_commit_got_no_answer_stays(desk, installation, job, run, monkeypatch):
    """The database goes away just after it, and the job is taken back meanwhile."""
    write = run._write

    def commit_and_lose(store):
        write(store)
        with installation.database.write() as session:
            claims.release(session, run.claim, lost=True, max_attempts=5)
        return write(store)

    monkeypatch.setattr(run, "_write", commit_and_lose)
    with pytest.raises(StaleRunError):
        run.sample(scale=1, step=1, kind="map", png=b"entered")
    with installation.database.read() as session:
        (sample,) = queries.samples(session, job.id)
    assert installation.blobs.get(sample.blob) == b"entered"


def test_the_sizes_of_what_is_kept_are_noted(installation, job, run):
    run.save_checkpoint(b"five.")
    for png in (b"three", b"seven.."):
        run.sample(scale=1, step=1, kind="generated", png=png)
    with installation.database.read() as session:
        kinds = usage.of_owner(session, job.owner).kinds
    assert (kinds["checkpoints"], kinds["samples"]) == (usage.Use(1, 5), usage.Use(1, 7))


def test_a_failure_while_publishing_leaves_nothing_half_done(desk, installation, job, run):
    def publish(session, row):
        row.name = "published"
        session.flush()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        run.publish(publish)
    assert (desk.job(job).name, desk.job(job).state) == ("", "running")


@pytest.fixture
def full_disk(installation, run, monkeypatch):
    """A disk without room until the test says so; jobs wait for it."""
    installation.blobs.when_full(run.wait_for_space)
    free = [0]
    monkeypatch.setattr(type(installation.blobs), "free_bytes", lambda _: free[0])
    monkeypatch.setattr(installation.blobs, "_floor", 1000)
    return free


def test_a_job_waits_for_space_with_what_it_has_done(
    desk, installation, job, run, full_disk, clock
):
    def make_room():
        if clock.monotonic() - began >= 59:
            full_disk[0] = 10_000

    began = clock.monotonic()
    clock.while_asleep = make_room
    run.save_checkpoint(b"state")
    assert clock.monotonic() - began == 59
    assert run.load_checkpoint() == b"state"
    (told,) = events(installation, job, "log")  # once, however often it has looked
    assert told["message"].startswith("waits for space on the disk: 0 MB of disk are free")
    assert (desk.job(job).state, desk.job(job).attempt) == ("running", 1)


@pytest.mark.parametrize(
    ("request_", "end"), [(requests.pause, Paused), (requests.cancel, Canceled)]
)
def test_a_job_that_waits_for_space_can_be_stopped(desk, job, run, full_disk, request_, end):
    desk.ask(request_, job)
    run.pulse()
    with pytest.raises(end):
        run.save_checkpoint(b"state")


def test_a_worker_that_stops_does_not_wait_for_space(run, full_disk, stopping):
    stopping.set()
    with pytest.raises(Paused):
        run.sample(scale=1, step=1, kind="map", png=b"png")


def test_nobody_waits_for_space_in_the_transaction_that_ends_a_job(
    installation, job, run, full_disk
):
    """Others wait for it to write, also those that would make room."""
    with pytest.raises(DiskFullError):
        run.publish(lambda session, job: installation.blobs.put("artifacts/x", b"late"))
    run.fail({"code": "disk_full", "message": "", "retryable": True})


def test_a_full_database_is_waited_for_without_end(desk, job, run, monkeypatch):
    faults = [sqlite3.OperationalError("database or disk is full") for _ in range(1000)]
    for fault in faults:
        fault.sqlite_errorcode = sqlite3.SQLITE_FULL
    renew = claims.renew

    def fail(*arguments, **options):
        if faults:
            raise OperationalError("INSERT", {}, faults.pop())
        return renew(*arguments, **options)

    monkeypatch.setattr(claims, "renew", fail)
    run.save_checkpoint(b"state")
    assert faults == []
    assert desk.job(job).checkpoint is not None


class TestStalling:
    @pytest.fixture
    def run(self, run, monkeypatch):
        """A run that may take a tenth of a second between two steps."""
        settings = run._settings.model_copy(update={"stall_seconds": 0.1})
        monkeypatch.setattr(run, "_settings", settings)
        return run

    def test_what_shows_no_sign_of_life_is_ended_and_says_so(self, installation, job, run, clock):
        run.poll()
        clock.sleep(0.2)
        with pytest.raises(StalledError, match=r"^no step for 0 s"):
            run.pulse()
        (told,) = events(installation, job, "log")
        assert told["message"].startswith("no step for 0 s")

    def test_a_long_step_that_gets_on_is_left_alone(self, run, clock):
        clock.sleep(0.2)
        run.alive()
        run.pulse()

    def test_what_hangs_is_ended_with_the_database_away_too(self, run, monkeypatch, clock):
        monkeypatch.setattr(claims, "renew", _away)
        clock.sleep(0.2)
        with pytest.raises(StalledError):
            run.pulse()

    def test_what_was_stopped_with_its_machine_does_not_hang(self, run, monkeypatch, clock):
        monkeypatch.setattr("services.jobs.run._AWAY_SECONDS", 0.15)
        clock.sleep(0.2)
        run.pulse()  # the first after the machine goes on
        clock.sleep(0.12)
        with pytest.raises(StalledError):
            run.pulse()

    def test_who_waits_for_the_database_does_not_hang(self, run, monkeypatch, clock):
        settings = run._settings.model_copy(update={"stall_seconds": 1})
        monkeypatch.setattr(run, "_settings", settings)
        run.alive()
        back = clock.monotonic() + 12
        renew = claims.renew
        clock.while_asleep = run._check_stall  # as the pulse does meanwhile

        def away_for_a_while(*arguments, **options):
            return (_away if clock.monotonic() < back else renew)(*arguments, **options)

        monkeypatch.setattr(claims, "renew", away_for_a_while)
        run.log("late")
        assert clock.monotonic() >= back


def _away(*_, **__):
    raise OperationalError("UPDATE", {}, sqlite3.OperationalError("disk I/O error"))
