"""One attempt at a time: claims, leases, and how attempts end."""

import threading
from datetime import timedelta

import pytest

from services.database.schema import Job, now
from services.jobs import claims, requests
from services.jobs.claims import Claim, StaleRunError
from services.jobs.run import JobRun

LEASE = timedelta(seconds=30)


def release(desk, claim, *, lost=True, max_attempts=5, **options):
    with desk.installation.database.write() as session:
        return claims.release(session, claim, lost=lost, max_attempts=max_attempts, **options)


def test_of_many_who_claim_one_job_one_gets_it(desk, installation):
    job = desk.submit()
    won = []
    barrier = threading.Barrier(8)

    def claim(number):
        barrier.wait()
        for _ in range(25):
            with installation.database.write() as session:
                if claims.claim(session, Claim(job.id, 1), holder="w", host="h", lease=LEASE):
                    won.append(number)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert desk.job(job).attempt == 1


def test_the_first_in_line_has_the_highest_priority_then_the_longest_wait(desk, installation):
    jobs = [desk.submit(priority=priority) for priority in (0, 1, 1)]
    order = []
    for _ in jobs:
        with installation.database.read() as session:
            order.append(claims.candidate(session, "train"))
        desk.claim(Job(id=order[-1].job_id))
    assert [claim.job_id for claim in order] == [jobs[1].id, jobs[2].id, jobs[0].id]
    with installation.database.read() as session:
        assert claims.candidate(session, "train") is None


def test_renewing_extends_the_lease_and_counts_the_time(desk, installation):
    job = desk.submit()
    claim = desk.claim(job, lease=1)
    with installation.database.write() as session:
        claims.renew(session, claim, lease=LEASE, ran=2.5)
    renewed = desk.job(job)
    assert renewed.lease_expires > now() + timedelta(seconds=20)
    assert renewed.run_seconds == 2.5


def test_a_lost_attempt_puts_the_job_back_in_its_place_and_fences_the_old_run(desk, installation):
    job = desk.submit()
    claim = desk.claim(job)
    released = release(desk, claim)
    assert (released.state, released.attempt, released.queued) == ("queued", 1, job.queued)
    assert released.lease_holder is None
    with installation.database.write() as session, pytest.raises(StaleRunError):
        claims.renew(session, claim, lease=LEASE, ran=1)
    with installation.database.write() as session, pytest.raises(StaleRunError):
        claims.succeed(session, claim)
    with installation.database.write() as session, pytest.raises(StaleRunError):
        claims.fail(session, claim, {"code": "internal"})
    assert release(desk, claim) is None
    assert desk.job(job).state == "queued"


def test_a_lease_that_has_not_run_out_keeps_its_attempt_unless_its_process_is_gone(desk):
    job = desk.submit()
    claim = desk.claim(job)
    assert release(desk, claim, unless_renewed=True) is None
    assert desk.job(job).state == "running"
    assert release(desk, claim).state == "queued"
    assert release(desk, desk.claim(job, lease=-0.1), unless_renewed=True).state == "queued"


def test_the_last_lost_attempt_fails_the_job(desk):
    job = desk.submit()
    for _ in range(2):
        release(desk, desk.claim(job), max_attempts=3)
    failed = release(desk, desk.claim(job), max_attempts=3)
    assert failed.state == "failed"
    assert failed.error["code"] == "worker_lost"
    assert failed.finished is not None


def test_a_job_that_gets_further_may_lose_any_number_of_attempts(desk, installation):
    job = desk.submit()
    for step in range(1, 7):
        run = JobRun(installation, desk.claim(job), threading.Event())
        run.progress(scale=1, scales=1, step=step, steps=9)
        run.save_checkpoint(b"state")
        assert release(desk, run.claim, max_attempts=2).state == "queued"
    run = JobRun(installation, desk.claim(job), threading.Event())
    run.progress(scale=1, scales=1, step=6, steps=9)  # where the last checkpoint was
    run.save_checkpoint(b"state")
    assert release(desk, run.claim, max_attempts=2).state == "failed"


def test_an_attempt_given_back_does_not_count(desk):
    job = desk.submit()
    for _ in range(10):
        assert release(desk, desk.claim(job), lost=False, max_attempts=3).state == "queued"
    assert desk.job(job).attempt == 0


@pytest.mark.parametrize(
    ("request_", "state"), [(requests.cancel, "canceled"), (requests.pause, "paused")]
)
def test_what_was_asked_of_a_dead_job_is_settled(desk, request_, state):
    job = desk.submit()
    claim = desk.claim(job)
    desk.ask(request_, job)
    assert release(desk, claim).state == state


def test_a_finish_survives_the_loss_of_the_process(desk):
    job = desk.submit()
    claim = desk.claim(job)
    desk.ask(requests.finish, job)
    assert release(desk, claim).desired_state == "finish"


def test_a_success_after_a_cancel_publishes_nothing(desk, installation):
    job = desk.submit()
    claim = desk.claim(job)
    desk.ask(requests.cancel, job)
    with installation.database.write() as session:
        assert claims.succeed(session, claim) is None
        assert claims.fail(session, claim, {"code": "internal"}).state == "canceled"
    assert desk.job(job).error is None


def test_a_job_whose_deadline_passes_before_it_starts_expires(desk, installation):
    job = desk.submit(deadline=now() + timedelta(hours=1))
    with installation.database.write() as session:
        session.get_one(Job, job.id).deadline = now() - timedelta(seconds=1)
    with installation.database.read() as session:
        assert claims.candidate(session, "train") is None
        assert list(session.scalars(claims.overdue_jobs(9))) == [job.id]
    with installation.database.write() as session:
        assert claims.expire(session, job.id).state == "expired"
        assert claims.expire(session, job.id) is None


def test_a_started_job_whose_deadline_passes_fails(desk, installation):
    job = desk.submit(deadline=now() + timedelta(hours=1))
    claim = desk.claim(job)
    with installation.database.write() as session:
        session.get_one(Job, job.id).deadline = now() - timedelta(seconds=1)
    failed = release(desk, claim)
    assert (failed.state, failed.error["code"]) == ("failed", "deadline_exceeded")
