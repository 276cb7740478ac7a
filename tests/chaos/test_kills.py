"""`kill -9` of a random process at a random moment, several jobs running."""

import random
import socket
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select

from services.database.schema import Job
from services.jobs.lifecycle import TERMINAL

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
    return settings.model_copy(update=changes)


class Counting:
    """Jobs that count in a tree that is killed again and again."""

    def __init__(self, house, tree, journal, chance: random.Random) -> None:
        self.steps: dict[str, int] = {}  # of each job
        self._house = house
        self._tree = tree
        self._journal = journal
        self._chance = chance

    def begin(self) -> None:
        self._tree.begin(SERVE)

    def wait_for_several(self) -> None:
        """Return once at least two jobs count; as many as are needed are submitted."""
        end = time.monotonic() + 60
        while sum(self._counts(process) for process in self._jobs()) < 2:
            assert time.monotonic() < end, f"nothing runs: {self._tree.parts()}"
            self._refill()
            time.sleep(0.02)

    def strike(self, kind: str) -> tuple[list[tuple[str, int]], float]:
        """Kill a process of that kind; returns the claims that it takes down, and the moment."""
        victim = self._tree.root
        if kind != "tree":
            victim = self._chance.choice(self._tree.parts()[kind])
        held = []
        for process in (victim, *victim.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                if words_of(process)[-5:][0].startswith("job_"):
                    held.append(claim(process))
        moment = time.monotonic()
        with suppress(psutil.NoSuchProcess):  # it has just ended
            victim.kill()
        return held, moment

    def _jobs(self) -> list[psutil.Process]:
        return self._tree.parts().get("job", [])

    def _counts(self, process: psutil.Process) -> bool:
        with suppress(psutil.NoSuchProcess):
            job_id, token = claim(process)
            return any(counted == token for counted, *_ in self._journal.steps(job_id))
        return False

    def _refill(self) -> None:
        with self._house.installation.database.read() as session:
            unfinished = session.scalar(
                select(func.count()).where(Job.state.not_in(list(TERMINAL)))
            )
        for _ in range(JOBS - unfinished):
            steps = self._chance.randrange(100, 400)
            job_id = self._house.submit(f"steps={steps}", announce=False)
            self._house.dispatcher.announce(job_id, "discriminator_training")
            self.steps[job_id] = steps


def claim(process: psutil.Process) -> tuple[str, int]:
    job_id, token = words_of(process)[-5:-3]
    return job_id, int(token)


def words_of(process: psutil.Process) -> list[str]:
    """Its command line. Raises: NoSuchProcess, also of one that has ended and is not reaped yet."""
    words = process.cmdline()
    if not words:
        raise psutil.ZombieProcess(process.pid)
    return words


@pytest.mark.slow
def test_whatever_is_killed_no_job_is_lost_or_done_twice(
    bare_house, tree, journal, count, chance, figures, audit
):
    jobs = Counting(bare_house, tree, journal, chance)
    rounds = count(short=3, full=200)
    noticed_within = 2.0 if figures.form == "full" else 5.0  # of a few, p95 is the slowest
    with figures("1", "`kill -9` of a job, a worker or the whole tree", rounds) as scenario:
        jobs.begin()
        tree.wait_until_up()
        kinds = list(KINDS) * (rounds // len(KINDS) + 1)
        chance.shuffle(kinds := kinds[:rounds])
        killed: list[tuple[str, int, float]] = []
        for kind in kinds:
            jobs.wait_for_several()
            time.sleep(chance.uniform(0, 1.5))
            held, moment = jobs.strike(kind)
            noticed_from = moment
            if kind == "tree":
                for left in tree.left():
                    scenario.violate(f"{left} outlived its tree")
                noticed_from = time.monotonic()
                jobs.begin()
            for job_id, token in held:
                if not wait_until_taken_back(bare_house, job_id, token):
                    continue  # it had just ended by itself
                killed.append((job_id, token, moment))
                # A new tree has to start first, as fast as the machine starts programs.
                name = "noticed by a new tree" if kind == "tree" else "noticed"
                scenario.time(name, time.monotonic() - noticed_from, p95=noticed_within)
            if kind == "tree":
                tree.wait_until_up()
        for job_id in jobs.steps:
            bare_house.wait_for_end(job_id, seconds=120)
        for job_id, token, moment in killed:
            after = [begin for other, _, begin, _ in journal.steps(job_id) if other > token]
            if after:
                scenario.time("goes on", min(after) - moment)
        for job_id, steps in jobs.steps.items():
            scenario.time("work lost", *journal.lost_work(job_id), max=CHECKPOINT_SECONDS)
            if bare_house.count(job_id) != list(range(1, steps + 1)):
                scenario.violate(f"{job_id} counted wrongly")
        for fault in audit(list(jobs.steps)):
            scenario.violate(fault)
        scenario.figure("jobs", len(jobs.steps))
        scenario.figure("attempts that were lost", len(killed), at_least=rounds // 2)


def wait_until_taken_back(house, job_id: str, token: int) -> bool:
    """Return once the attempt has ended; False if the job itself had."""
    end = time.monotonic() + 40
    while (job := house.job(job_id)).token == token:
        assert time.monotonic() < end, f"nobody noticed that {job_id} is dead"
        time.sleep(0.005)
    return job.state != "succeeded" or job.token > token + 1
