"""A job that takes its process down every time ends, and its neighbours do not notice."""

import time

import pytest

from services.jobs.lifecycle import TERMINAL

CAP = 5  # by default


@pytest.mark.slow
def test_a_job_that_always_dies_fails_after_the_cap_and_its_neighbours_finish(
    house, count, chance, figures, audit
):
    rounds = count(short=1, full=5)
    with figures("12", "a job that kills its process every time", rounds) as scenario:
        for _ in range(2):
            house.worker()
        neighbours = []
        for _ in range(rounds):
            began = time.monotonic()
            deadly = house.submit(f"crash_at={chance.randint(1, 15)}")
            neighbours += [house.submit("steps=40") for _ in range(2)]
            job = house.wait_for_end(deadly, seconds=120)
            scenario.time("until it has failed", time.monotonic() - began)
            if (job.state, job.error and job.error["code"]) != ("failed", "worker_lost"):
                scenario.violate(f"{deadly} is {job.state} with {job.error}")
            # After a checkpoint that shows a step forward they are counted anew.
            steps_forward = len(house.events(deadly, "checkpoint"))
            if job.attempt > CAP + (CAP - 1) * steps_forward:
                scenario.violate(f"{deadly} had {job.attempt} attempts")
        for job_id in neighbours:
            house.wait(job_id, lambda job: job.state in TERMINAL, seconds=120)
            if house.job(job_id).attempt != 1:
                scenario.violate(f"{job_id} was disturbed by its neighbour")
            if house.count(job_id) != list(range(1, 41)):
                scenario.violate(f"{job_id} counted wrongly")
        for fault in audit(neighbours):
            scenario.violate(fault)


class TestHanging:
    @pytest.fixture
    def settings(self, settings):
        return settings.model_copy(update={"stall_seconds": 4.0, "max_attempts": 2})

    @pytest.mark.slow
    def test_a_job_that_always_hangs_fails_after_the_cap_and_frees_its_slot(self, house, figures):
        with figures("12", "a job that hangs every time") as scenario:
            house.worker()
            hanging, after = house.submit("hang_at=5"), house.submit("steps=5")
            job = house.wait_for_end(hanging)
            assert (job.state, job.error["code"]) == ("failed", "worker_lost")
            assert house.wait_for_end(after).state == "succeeded"
            said = [event.content["message"] for event in house.events(hanging, "log")]
            assert len(said) == job.attempt
            assert all(line.startswith("no step for ") for line in said)
            scenario.figure("attempts", job.attempt, at_most=3)
