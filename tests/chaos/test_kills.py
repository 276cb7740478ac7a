"""`kill -9` of a random process at a random moment, several jobs running."""

import random
import socket
import time
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from services.database.schema import Job

SERVE = (str(Path(__file__).with_name("counting_serve.py")),)
KINDS = ("job", "worker", "tree")
JOBS = 5
CHECKPOINT_SECONDS = 1.0


@pytest.fixture
def settings(settings):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    changes = {"port": port, "slots": 3, "checkpoint_seconds": CHECKPOINT_SECONDS}
    # As by default: a death on this host must be noticed long before the lease ends.
    return settings.model_copy(update=changes | {"heartbeat_seconds": 5.0, "lease_seconds": 30.0})


class Counting:
    """Jobs that count in a tree that is killed again and again."""

    def __init__(self, house, tree, journal: Path, chance: random.Random) -> None:
        self.house = house
        self.tree = tree
        self.job_ids: list[str] = []
        self._journal = journal
        self._chance = chance

    def begin(self) -> None:
        self.tree.begin(SERVE, COUNTING_JOURNAL=str(self._journal))

    def refill(self) -> None:
        """Submit until JOBS are unfinished."""
        while len(self.unfinished()) < JOBS:
            steps = self._chance.randrange(100, 400)
            job_id = self.house.submit(f"steps={steps}", announce=False)
            self.house.dispatcher.announce(job_id, "discriminator_training")
            self.job_ids.append(job_id)

    def unfinished(self) -> list[Job]:
        with self.house.installation.database.read() as session:
            jobs = list(session.scalars(select(Job).where(Job.id.in_(self.job_ids))))
        return [job for job in jobs if job.state in {"queued", "running"}]

    def running(self) -> list[psutil.Process]:
        """Job processes that count by now."""
        return [
            process
            for process in self.tree.parts().get("job", ())
            if any(token == claim(process)[1] for token, *_ in self.steps(claim(process)[0]))
        ]

    def wait_for_several(self) -> list[psutil.Process]:
        """The job processes, once there are at least two."""
        end = time.monotonic() + 60
        while len(found := self.running()) < 2:
            assert time.monotonic() < end, [
                (job.id, job.state, job.token) for job in self.unfinished()
            ]
            self.refill()
            time.sleep(0.02)
        return found

    def steps(self, job_id: str) -> list[tuple[int, int, float, float]]:
        """What the job has done: token, step, beginning and end."""
        path = self._journal / job_id
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(a), int(b), float(c), float(d)) for a, b, c, d in map(str.split, lines)]


def claim(process: psutil.Process) -> tuple[str, int]:
    job_id, token = process.cmdline()[-5:-3]
    return job_id, int(token)


@pytest.mark.slow
def test_whatever_is_killed_no_job_is_lost_or_done_twice(
    bare_house, tree, tmp_path, count, chance, figures, audit
):
    journal = tmp_path / "journal"
    journal.mkdir()
    jobs = Counting(bare_house, tree, journal, chance)
    rounds = count(short=3, full=200)
    with figures("1", "`kill -9` of a job, a worker or the whole tree", rounds) as scenario:
        jobs.begin()
        tree.wait_until_up()
        kinds = list(KINDS) * (rounds // len(KINDS) + 1)
        chance.shuffle(kinds := kinds[:rounds])
        killed: list[tuple[str, int, float]] = []
        for kind in kinds:
            jobs.refill()
            jobs.wait_for_several()
            time.sleep(chance.uniform(0, 1.5))
            victims = jobs.wait_for_several()
            if kind == "job":
                victims = [chance.choice(victims)]
                held = [claim(victims[0])]
                moment = time.monotonic()
                victims[0].kill()
            elif kind == "worker":
                victims = [chance.choice(victims)]
                held = [claim(victims[0])]
                moment = time.monotonic()
                victims[0].parent().kill()
            else:
                held = [claim(victim) for victim in victims]
                moment = time.monotonic()
                for left in tree.kill():
                    scenario.violate(f"{left} outlived its tree")
                began = time.monotonic()
                jobs.begin()
            for job_id, token in held:
                if not wait_until_taken_back(bare_house, job_id, token):
                    continue  # it had just ended by itself
                now = time.monotonic()
                killed.append((job_id, token, moment))
                if kind == "tree":
                    scenario.time("noticed by a new tree", now - began)
                else:
                    scenario.time("noticed", now - moment, p95=2.0)
            if kind == "tree":
                tree.wait_until_up()
        for job_id in jobs.job_ids:
            bare_house.wait_for_end(job_id, seconds=120)
        for job_id, token, moment in killed:
            after = [begin for other, _, begin, _ in jobs.steps(job_id) if other > token]
            if after:
                scenario.time("goes on", min(after) - moment)
        for job_id in jobs.job_ids:
            for seconds, longest in lost_work(jobs.steps(job_id)):
                scenario.time("work lost", seconds)
                if seconds > CHECKPOINT_SECONDS + longest:  # one step may be under way
                    scenario.violate(f"{job_id} lost {seconds:.2f} s of work")
            last = bare_house.count(job_id)[-1]
            if bare_house.count(job_id) != list(range(1, last + 1)):
                scenario.violate(f"{job_id} counted wrongly")
        for fault in audit(jobs.job_ids):
            scenario.violate(fault)
        scenario.figure("jobs", len(jobs.job_ids))


def wait_until_taken_back(house, job_id: str, token: int) -> bool:
    """Return once the attempt has ended; False if the job itself had."""
    end = time.monotonic() + 40
    while (job := house.job(job_id)).token == token:
        assert time.monotonic() < end, f"nobody noticed that {job_id} is dead"
        time.sleep(0.005)
    return job.state != "succeeded" or job.token > token + 1


def lost_work(steps: list[tuple[int, int, float, float]]) -> list[tuple[float, float]]:
    """For each attempt that was lost, the seconds of work done again, and its longest step."""
    attempts: dict[int, list[tuple[int, float]]] = {}
    for token, step, began, ended in steps:
        attempts.setdefault(token, []).append((step, ended - began))
    return [
        (
            sum(seconds for step, seconds in lost if step >= following[0][0]),
            max(seconds for _, seconds in lost),
        )
        for lost, following in pairwise(attempts.values())
    ]
