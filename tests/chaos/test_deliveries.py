"""A message may come a thousand times: the job that it names is claimed once, as are others."""

import time

from sqlalchemy import func, select

from services.database.schema import JobEvent


def test_a_message_that_comes_again_and_again_is_one_claim(house, count, figures):
    deliveries = count(short=100, full=1000)
    with figures("6", "deliveries of one job's id", deliveries) as scenario:
        for _ in range(2):
            house.worker()
        first = house.submit("steps=20", announce=False)
        others = [house.submit("steps=2", announce=False) for _ in range(5)]
        for _ in range(deliveries):
            house.dispatcher.announce(first, "discriminator_training")
        for job_id in (first, *others):
            job = house.wait_for_end(job_id, seconds=120)
            if (job.state, job.attempt) != ("succeeded", 1):
                scenario.violate(f"{job_id} is {job.state} after {job.attempt} attempts")
        began = time.monotonic()
        while house.dispatcher.waiting("train"):
            assert time.monotonic() - began < 120, "messages are left"
            time.sleep(0.05)
        with house.installation.database.read() as session:
            running = JobEvent.content["state"].as_string() == "running"
            claims = select(JobEvent.job_id, func.count()).where(running)
            for job_id, number in session.execute(claims.group_by(JobEvent.job_id)):
                if number != 1:
                    scenario.violate(f"{job_id} was claimed {number} times")
