"""`kill -9` at each named point of a job's way: before and after every step that is stored."""

import importlib.util
import time
from pathlib import Path

import pytest

from services.jobs.lifecycle import TERMINAL

PROGRAM = Path(__file__).with_name("fault_points.py")
OPTIONS = "steps=60 pad=200000"
SLOTS = 2
CHECKPOINT_SECONDS = 0.5


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"checkpoint_seconds": CHECKPOINT_SECONDS})


@pytest.fixture(scope="module")
def points() -> list[str]:
    """The names of all points."""
    spec = importlib.util.spec_from_file_location("fault_points", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [*module.SLOT_FAULTS, *module.JOB_FAULTS]


@pytest.mark.slow
def test_a_death_at_any_point_neither_loses_nor_doubles(
    house, points, journal, tmp_path, monkeypatch, count, chance, figures, audit
):
    orders = tmp_path / "orders"
    orders.mkdir()
    monkeypatch.setenv("FAULT_ORDERS", str(orders))
    deaths = count(short=6, full=10 * len(points))
    name = f"`kill -9` at each of {len(points)} points"
    with figures("3", name, deaths) as scenario:
        workers = [house.worker((str(PROGRAM),)) for _ in range(SLOTS)]
        job_ids: list[str] = []
        while len(job_ids) < deaths:
            jobs = {}
            for point in chance.sample(points, len(points))[: deaths - len(job_ids)]:
                job_id = house.submit(OPTIONS, announce=False)
                (orders / job_id).write_text(point)
                house.dispatcher.announce(job_id, "discriminator_training")
                jobs[job_id] = point
            run(house, jobs, workers)
            for job_id, point in jobs.items():
                job = house.job(job_id)
                if not carried_out(orders / job_id):
                    scenario.violate(f"nothing died: {point}")
                felled = (orders / f"{job_id}.felled").exists()  # with its neighbour's slot
                if job.attempt > 2 + felled:
                    scenario.violate(f"{point}: {job.attempt} attempts")
                if house.count(job_id) != list(range(1, 61)):
                    scenario.violate(f"{point}: it counted wrongly")
                scenario.time("work lost", *journal.lost_work(job_id), max=CHECKPOINT_SECONDS)
            job_ids += jobs
        for fault in audit(job_ids):
            scenario.violate(fault)


def carried_out(order: Path) -> bool:
    """Whether the death has come; a slot settles a job just after its end."""
    end = time.monotonic() + 10
    while order.exists() and time.monotonic() < end:
        time.sleep(0.05)
    return not order.exists()


def run(house, jobs: dict[str, str], workers: list) -> None:
    """Return when the jobs have ended; slots that died are replaced."""
    end = time.monotonic() + 30 * len(jobs)
    waiting = dict(jobs)
    while waiting:
        assert time.monotonic() < end, {
            point: house.states(job_id) for job_id, point in waiting.items()
        }
        for place, worker in enumerate(workers):
            if worker.poll() is not None:
                workers[place] = house.worker((str(PROGRAM),))
        for job_id, point in list(waiting.items()):
            job = house.job(job_id)
            if job.state in TERMINAL:
                del waiting[job_id]
            elif point == "taken back, not announced" and job.token == 1 and job.progress:
                for process in house.processes(job_id):
                    process.kill()
        time.sleep(0.05)
