"""Whatever is killed, a job is done once, and its result is that of an undisturbed run."""

import contextlib
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from services.devices import Device
from services.embedded.broker import EmbeddedRedis
from services.errors import ConflictError
from services.jobs import queries, requests
from services.jobs.reaper import Reaper
from services.jobs.workers import Slot
from tests.waiting import PATIENCE_SECONDS, wait_until
from workers.supervisor import Supervisor


@pytest.mark.parametrize("lease_seconds", [600])
def test_death_is_noticed_by_the_lock_long_before_the_lease_ends(house):
    worker = house.worker()
    job_id = house.submit("steps=10000")
    house.wait_for_step(job_id, 1)
    survivor = house.worker()
    worker.kill()
    house.wait(job_id, lambda job: job.token > 1)
    assert survivor.poll() is None


@pytest.mark.parametrize("lease_seconds", [8])
def test_a_stopped_process_writes_nothing_once_its_lease_has_ended(house):
    worker = house.worker()
    job_id = house.submit("steps=150 stay_at=100")
    house.wait_for_step(job_id, 20)
    stopped = [house.process(job_id), psutil.Process(worker.pid)]
    for process in stopped:
        process.suspend()
    house.worker()
    house.wait(job_id, lambda job: job.token > 1)
    for process in stopped:
        process.resume()
    stopped[0].wait(PATIENCE_SECONDS)  # it ends by itself, or is killed by its supervisor
    assert house.wait_for_end(job_id).state == "succeeded"
    assert house.count(job_id) == list(range(1, 151))
    assert house.states(job_id) == ["queued", "running", "queued", "running", "succeeded"]


def test_a_killed_broker_disturbs_no_running_job_and_loses_none_that_waits(house, broker):
    house.worker()
    running, waiting = house.submit("steps=10000"), house.submit("steps=5")
    step = house.wait_for_step(running, 10).progress["step"]
    os.kill(broker.pid, signal.SIGKILL)
    house.wait_for_step(running, step + 50)
    broker.start()
    house.ask(requests.finish, running)
    assert house.wait_for_end(running).attempt == 1
    assert house.wait_for_end(waiting).state == "succeeded"


def test_a_broker_that_hangs_holds_up_neither_a_recovery_nor_what_comes_after(house, broker):
    house.worker()
    job_id = house.submit("steps=300 stay_at=200")
    house.wait_for_step(job_id, 10)
    redis = psutil.Process(broker.pid)
    redis.suspend()
    time.sleep(6)  # longer than any time-out
    waiting = house.submit("steps=5", announce=False)
    token = house.job(job_id).token
    house.process(job_id).kill()
    house.wait(job_id, lambda job: job.token > token)
    redis.resume()
    assert house.wait_for_end(job_id).state == "succeeded"
    assert house.wait_for_end(waiting).state == "succeeded"


def test_a_broker_that_refuses_every_write_ends_no_worker(house):
    worker = house.worker()
    running = house.submit("steps=20 step_seconds=0.1")
    house.wait_for_step(running, 1)
    redis = house.dispatcher._redis
    redis.config_set("min-replicas-to-write", 1)  # as with a full disk, which is harder to have
    waiting = house.submit("steps=5", announce=False)
    assert house.wait_for_end(running).attempt == 1
    time.sleep(4)  # the slot asks for more meanwhile, and is refused
    assert house.job(waiting).state == "queued"
    redis.config_set("min-replicas-to-write", 0)
    assert house.wait_for_end(waiting).state == "succeeded"
    assert worker.poll() is None


def test_an_emptied_broker_is_filled_again_and_no_further(house, broker: EmbeddedRedis):
    house.worker()
    jobs = [house.submit("steps=10000"), *(house.submit("steps=3") for _ in range(4))]
    house.wait_for_step(jobs[0], 5)
    house.dispatcher._redis.flushall()
    wait_until(lambda: house.dispatcher.waiting("train") == 4)
    time.sleep(3)  # the reaper looks again
    assert house.dispatcher.waiting("train") == 4
    house.ask(requests.finish, jobs[0])
    assert [house.wait_for_end(job_id).state for job_id in jobs] == ["succeeded"] * 5


def test_two_hundred_deliveries_of_one_id_are_one_claim(house):
    slots = [
        Supervisor(
            house.installation,
            Reaper(house.installation, house.dispatcher),
            Slot.here(number, "cpu"),
            Device(visible="", label="cpu"),
            command=(sys.executable, str(Path(__file__).with_name("counting_job.py"))),
        )
        for number in range(8)
    ]
    job_id = house.submit("steps=30", announce=False)
    with ThreadPoolExecutor(8) as threads:
        deliveries = [threads.submit(slots[number % 8].run, job_id) for number in range(200)]
    assert [delivery.exception() for delivery in deliveries] == [None] * 200
    job = house.job(job_id)
    assert (job.attempt, house.states(job_id)) == (1, ["queued", "running", "succeeded"])


def test_doubled_messages_in_several_slots_are_one_claim(house):
    job_id = house.submit("steps=30", announce=False)
    for _ in range(20):
        house.dispatcher.announce(job_id, "discriminator_training")
    for _ in range(2):
        house.worker()
    assert house.wait_for_end(job_id).state == "succeeded"
    wait_until(lambda: house.dispatcher.waiting("train") == 0)
    job = house.job(job_id)
    assert (job.attempt, house.states(job_id)) == (1, ["queued", "running", "succeeded"])


def test_a_cancel_that_races_the_end_leaves_one_final_state(house):
    house.worker()
    for delay in (0.0, 0.02, 0.04, 0.06, 0.1):
        job_id = house.submit("steps=10 step_seconds=0.01")
        house.wait(job_id, lambda job: job.state != "queued")
        time.sleep(0.1 + delay)
        with contextlib.suppress(ConflictError):  # it was quicker
            house.ask(requests.cancel, job_id)
        state = house.wait_for_end(job_id).state
        states = house.states(job_id)
        assert states[-1] == state
        assert sum(name in {"succeeded", "canceled"} for name in states) == 1
        with house.installation.database.read() as session:
            published = len(queries.artifacts(session, job_id))
        assert published == (state == "succeeded")


def test_nothing_is_left_running_when_a_whole_tree_is_killed(house):
    worker = house.worker()
    job_id = house.submit("steps=10000")
    house.wait_for_step(job_id, 1)
    child = house.process(job_id)
    worker.kill()
    worker.wait()
    child.wait(PATIENCE_SECONDS)
    assert house.processes(job_id) == []
