"""A worker slot runs jobs to the end that their owners asked for."""

import signal
import time

import psutil

from services.access import LOCAL
from services.jobs import queries, requests
from tests.waiting import PATIENCE_SECONDS


def test_runs_a_job_to_its_end(house):
    house.worker()
    began = time.monotonic()
    job_id = house.submit("steps=30")
    job = house.wait_for_end(job_id)
    assert job.state == "succeeded"
    assert 0.5 < job.run_seconds < time.monotonic() - began
    assert house.count(job_id) == list(range(1, 31))
    assert house.states(job_id) == ["queued", "running", "succeeded"]
    assert job.attempt == 1
    assert job.checkpoint is None
    assert job.lease_holder is None
    house.wait_until_swept()
    events = [event.seq for event in house.events(job_id, "progress")]
    assert len(events) <= 2 * job.run_seconds + 2  # two a second at most


def test_keeps_the_last_progress_and_all_metrics(house):
    house.worker()
    job_id = house.submit("steps=60")
    job = house.wait_for_end(job_id)
    assert job.progress["step"] == 60
    assert job.progress["fraction"] == 1
    assert job.progress["metrics"] == {"count": 60.0}
    with house.installation.database.read() as session:
        points = queries.metrics(session, job_id)
    assert [(point.step, point.content) for point in points] == [
        (step, {"count": float(step)}) for step in range(1, 61)
    ]


def test_lets_processes_that_answer_people_go_first(house):
    worker = house.worker()
    job_id = house.submit("steps=10000")
    house.wait_for_step(job_id, 1)
    niceness = house.process(job_id).nice() - psutil.Process(worker.pid).nice()
    assert niceness == 5


def test_tells_how_long_it_will_take(house):
    house.worker()
    began = time.monotonic()
    job_id = house.submit("steps=100 step_seconds=0.05")
    job = house.wait_for_step(job_id, 50)
    took = time.monotonic() - began
    step, first = job.progress["step"], house.events(job_id, "progress")[0].content["step"]
    left = 100 - step
    assert 0.8 * left * 0.05 <= job.progress["eta_seconds"] <= left * took / (step - first) + 0.1


def test_cancels_long_before_the_end_and_the_process_is_gone(house):
    house.worker()
    job_id = house.submit("steps=10000")
    house.wait_for_step(job_id, 1)
    process = house.process(job_id)
    assert house.ask(requests.cancel, job_id).state == "canceling"
    assert house.wait_for_end(job_id).state == "canceled"
    process.wait(PATIENCE_SECONDS)


def test_kills_a_process_that_does_not_hear_of_the_cancel(house):
    house.worker()
    job_id = house.submit("steps=10000 stubborn=1")
    house.wait_for_step(job_id, 1)
    house.ask(requests.cancel, job_id)
    assert house.wait_for_end(job_id).state == "canceled"
    assert house.processes(job_id) == []


def test_pauses_after_a_checkpoint_and_goes_on_from_it(house):
    house.worker()
    job_id = house.submit("steps=100 stay_at=50")
    house.wait_for_step(job_id, 10)
    assert house.ask(requests.pause, job_id).state == "pausing"
    paused = house.wait_for(job_id, "paused")
    assert paused.checkpoint is not None
    assert paused.attempt == 0  # an attempt that was given back does not count
    house.ask(requests.resume, job_id)
    house.dispatcher.announce(job_id, paused.type)
    job = house.wait_for_end(job_id)
    assert job.state == "succeeded"
    assert house.count(job_id) == list(range(1, 101))
    assert house.states(job_id) == [
        *("queued", "running", "pausing", "paused", "queued", "running", "succeeded")
    ]


def test_finishes_early_with_what_is_done(house):
    house.worker()
    job_id = house.submit("steps=10000")
    house.wait_for_step(job_id, 10)
    assert house.ask(requests.finish, job_id).state == "running"
    assert house.wait_for_end(job_id).state == "succeeded"
    counted = house.count(job_id)
    assert counted == list(range(1, len(counted) + 1))
    assert 10 <= len(counted) < 10000


def test_fails_with_a_code_and_without_a_traceback(house):
    house.worker()
    job_id = house.submit("raise_at=3")
    job = house.wait_for_end(job_id)
    assert job.state == "failed"
    assert job.error["code"] == "internal"
    assert "KeyError" in job.error["message"]
    assert "secret" not in str(job.error)
    assert "secret" in (house._logs / "worker-0.log").read_text()


def test_a_failed_job_can_be_retried(house):
    house.worker()
    job_id = house.submit("raise_at=3")
    house.wait_for_end(job_id)
    with house.installation.database.write() as session:
        requests.change(session, job_id, LOCAL, name="steps=5")
    job = house.ask(requests.retry, job_id)
    assert (job.state, job.error, job.finished) == ("queued", None, None)
    house.dispatcher.announce(job_id, job.type)
    assert house.wait_for_end(job_id).state == "succeeded"


def test_the_highest_priority_runs_first_whatever_was_announced_first(house):
    low = [house.submit("steps=2") for _ in range(3)]
    high = house.submit("steps=2", priority=5)
    house.worker()
    jobs = [house.wait_for_end(job_id) for job_id in (high, *low)]
    assert [job.state for job in jobs] == ["succeeded"] * 4
    started = [job.started for job in jobs]
    assert started == sorted(started)


def test_a_stopped_worker_gives_its_job_back_at_a_checkpoint(house):
    worker = house.worker()
    job_id = house.submit("steps=200 stay_at=100")
    house.wait_for_step(job_id, 20)
    worker.terminate()
    assert worker.wait(PATIENCE_SECONDS) == 0
    job = house.job(job_id)
    assert job.state == "queued"
    assert job.attempt == 0
    assert job.checkpoint is not None
    house.worker()
    assert house.wait_for_end(job_id).state == "succeeded"
    assert house.count(job_id) == list(range(1, 201))


def test_a_worker_stays_small(house):
    worker = house.worker()
    house.wait_for_end(house.submit("steps=1"))
    maps = {region.path for region in psutil.Process(worker.pid).memory_maps()}
    assert not [path for path in maps if "libtorch" in path]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE_SECONDS) == 0
