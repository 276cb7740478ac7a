"""A cancel at any moment leaves one final state, soon, and no process."""

import time
from contextlib import suppress

from services.errors import ConflictError
from services.jobs import queries, requests
from services.jobs.lifecycle import TERMINAL

# When it is asked for: in which state, or around which moment.
MOMENTS = ("finish", "stubborn", "claimed", "pausing", "queued", "running", "paused")


def test_a_cancel_races_everything_and_leaves_one_final_state(house, count, chance, figures):
    with figures("8", "cancel, racing the finish", count(short=3, full=100)) as scenario:
        for _ in range(2):
            house.worker()
        for number in range(scenario.count):
            moment = MOMENTS[number % len(MOMENTS)]
            job_id = _bring_to(moment, house, chance)
            began = time.monotonic()
            with suppress(ConflictError):  # it had ended
                house.ask(requests.cancel, job_id)
            job = house.wait_for_end(job_id)
            scenario.time("canceled", time.monotonic() - began, p95=2.0)
            while house.processes(job_id) and time.monotonic() - began < 20:
                time.sleep(0.02)
            scenario.time("process gone", time.monotonic() - began, p95=2.0, max=10.0)
            for fault in _faults(house, job_id, job.state, chance.uniform(0, 0.3)):
                scenario.violate(f"{job_id}, canceled when {moment}: {fault}")


def _bring_to(moment: str, house, chance) -> str:
    steps = 15 if moment == "finish" else 10_000
    job_id: str = house.submit(
        f"steps={steps} step_seconds=0.01" + " stubborn=1" * (moment == "stubborn"),
        announce=moment != "queued",
    )
    if moment == "queued":
        return job_id
    house.wait(job_id, lambda job: job.state != "queued")
    if moment == "claimed":
        time.sleep(chance.uniform(0, 0.5))
        return job_id
    house.wait_for_step(job_id, 1)
    match moment:
        case "finish":
            time.sleep(chance.uniform(0, 0.4))
        case "pausing":
            house.ask(requests.pause, job_id)
            time.sleep(chance.uniform(0, 0.6))
        case "paused":
            house.ask(requests.pause, job_id)
            house.wait_for(job_id, "paused")
        case _:
            time.sleep(chance.uniform(0, 0.5))
    return job_id


def _faults(house, job_id: str, state: str, pause: float) -> list[str]:
    """What is wrong with the end: it must be one, and stay."""
    time.sleep(pause)
    states = house.states(job_id)
    faults = []
    if house.job(job_id).state != state or states[-1] != state:
        faults.append(f"it was {state} and is {house.job(job_id).state}, states {states}")
    if sum(each in TERMINAL for each in states) != 1:
        faults.append(f"its states were {states}")
    with house.installation.database.read() as session:
        published = len(queries.artifacts(session, job_id))
    if published != (state == "succeeded"):
        faults.append(f"it is {state} and published {published} artifacts")
    return faults
